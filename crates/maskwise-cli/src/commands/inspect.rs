use super::human_bytes;
use crate::args::InspectArguments;
use crate::exit::Ending;
use maskwise::hub::Environment;
use maskwise::inspect::{Inspection, inspect};
use maskwise::{ModelPlaces, SimilarityPointsConfig, Thresholds};
use std::io::{self, Write};

pub(crate) fn run(arguments: &InspectArguments) -> anyhow::Result<Ending> {
    let places = ModelPlaces {
        vision_tower: arguments.vision_tower.clone(),
        sam: arguments.sam.clone(),
        ..ModelPlaces::default()
    };
    let inspection = inspect(&arguments.model, places, &Environment::from_env())?;
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &inspection)?;
        writeln!(out)?;
    } else {
        write_text(&mut out, &inspection, arguments.tensors)?;
    }
    Ok(if inspection.defects.is_some() { Ending::SomeFailed } else { Ending::Done })
}

/// How similarity becomes points, in words.
fn points(config: &SimilarityPointsConfig) -> String {
    let number = config.num_points.map_or("every cell".to_owned(), |number| format!("at most {number}"));
    let thresholds = match config.thresholds {
        Thresholds::Fixed { t_pos, t_neg } => format!("positive from {t_pos}, negative up to {t_neg}"),
        Thresholds::MeanDeviation { epsilon } => {
            format!("positive and negative {epsilon} deviations from the mean")
        }
    };
    format!("{number}, {thresholds}, of a grid reduced by {}", config.down_sample)
}

fn write_text(out: &mut impl Write, inspection: &Inspection, tensors: bool) -> anyhow::Result<()> {
    writeln!(out, "model         {}", inspection.folder.display())?;
    writeln!(out, "vision tower  {}", inspection.vision_tower.display())?;
    let system = &inspection.system;
    // Without the quotation marks of its JSON form.
    writeln!(out, "system        {}", serde_json::to_string(&system.system)?.trim_matches('"'))?;
    writeln!(out, "points        {}", system.similarity_points.as_ref().map_or("none".to_owned(), points))?;
    let (generate, forced) = (&system.conversation.generate, &system.conversation.teacher_forced);
    writeln!(out, "conversation  {generate}; {forced} where the answer is given")?;
    writeln!(out, "image tokens  {} of a context of {}", inspection.image_tokens, inspection.context)?;
    let ids = inspection.special_ids.iter().map(|(name, id)| format!("{name} {id}"));
    writeln!(out, "special ids   {}", ids.collect::<Vec<_>>().join(", "))?;
    writeln!(out)?;
    if tensors {
        for row in &inspection.tensors {
            writeln!(out, "{:<5} {:<22} {}", row.dtype, format!("{:?}", row.shape), row.name)?;
        }
        writeln!(out)?;
    }
    for (part, count) in &inspection.parameters {
        writeln!(out, "{part:<16} {count:>14} parameters")?;
    }
    let total: u64 = inspection.parameters.values().sum();
    writeln!(out, "{:<16} {total:>14} parameters in {} tensors", "total", inspection.tensors.len())?;
    writeln!(out)?;
    for plan in &inspection.memory {
        writeln!(
            out,
            "memory in {:<4}   {} = weights {} + cache of a full context {} + work {}",
            plan.dtype,
            human_bytes(plan.total()),
            human_bytes(plan.weights),
            human_bytes(plan.cache),
            human_bytes(plan.work)
        )?;
    }
    match &inspection.defects {
        None => writeln!(out, "every tensor that the model needs is there with its shape")?,
        Some(defects) => writeln!(out, "DOES NOT LOAD: {defects}")?,
    }
    Ok(())
}
