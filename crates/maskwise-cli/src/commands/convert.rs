use crate::args::ConvertArguments;
use crate::exit::Ending;
use crate::ui::Progress;
use maskwise::ModelPlaces;
use maskwise::convert::{ConvertOptions, convert};
use maskwise::hub::Environment;
use std::io::Write;

pub(crate) fn run(arguments: &ConvertArguments, quiet: bool) -> anyhow::Result<Ending> {
    let options = ConvertOptions {
        dtype: arguments.dtype,
        quantization: arguments.quantize.parts(),
        places: ModelPlaces {
            vision_tower: arguments.vision_tower.clone(),
            sam: arguments.sam.clone(),
            ..ModelPlaces::default()
        },
        allow_untrained: arguments.allow_untrained,
    };
    let bar = Progress::new(quiet).count("converting");
    convert(&arguments.model, &arguments.output, options, &Environment::from_env(), &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if !quiet {
        writeln!(std::io::stdout(), "wrote {}", arguments.output.display())?;
    }
    Ok(Ending::Done)
}
