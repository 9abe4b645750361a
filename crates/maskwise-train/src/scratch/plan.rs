use super::{ClipSizes, DecoderSizes, ModelSizes, SamSizes};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// How a tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Init {
    Zeros,
    Ones,
    /// Normal with this deviation.
    Normal(f32),
    /// Uniform between ± this.
    Uniform(f32),
    /// Three matrices on top of each other, queries, keys and values: queries and keys are the same values, uniform between ± the first bound,
    /// values are uniform between ± the second.
    QueriesKeysValues(f32, f32),
    /// Rows of sines and cosines of a cell's row and column on a square grid (the fixed positions of He et al. 2022, appendix A.1), after
    /// `leading` rows of zeros: attention can tell places apart from the first step on.
    Positions {
        leading: usize,
        width: usize,
    },
    /// Filters over patches of this side: cosines of brightness and of two colour differences, low frequencies first, weaker ones
    /// strengthened as pictures need it. Learned patch embeddings come to look like these.
    Cosines {
        side: usize,
    },
}

impl Init {
    /// `count` first values.
    pub(crate) fn values(self, count: usize, generator: &mut impl Rng) -> Vec<f32> {
        match self {
            Self::Zeros => vec![0.0; count],
            Self::Ones => vec![1.0; count],
            Self::Uniform(bound) => (0..count).map(|_| generator.random_range(-bound..=bound)).collect(),
            Self::QueriesKeysValues(pair, value) => {
                let third = count / 3;
                let mut values = Self::Uniform(pair).values(third, generator);
                values.extend_from_within(..);
                values.extend(Self::Uniform(value).values(third, generator));
                values
            }
            Self::Normal(deviation) => (0..count).map(|_| deviation * normal(generator)).collect(),
            Self::Cosines { side } => cosine_filters(count / (3 * side * side), side),
            Self::Positions { leading, width } => {
                let mut values = vec![0.0; leading * width];
                let grid = (count / width - leading).isqrt();
                for cell in 0..grid * grid {
                    let (row, column) = (cell / grid, cell % grid);
                    values.extend(waves(row, width / 2).chain(waves(column, width - width / 2)));
                }
                values
            }
        }
    }
}

/// Weights of red, green and blue: brightness, and two differences.
const COLOURS: [[f64; 3]; 3] = [[0.58, 0.58, 0.58], [0.71, 0.0, -0.71], [0.41, -0.82, 0.41]];

/// `filters` filters `[3, side, side]`, half of them of brightness, a quarter of each colour difference.
fn cosine_filters(filters: usize, side: usize) -> Vec<f32> {
    let mut frequencies: Vec<(usize, usize)> =
        (0..side * side).map(|index| (index / side, index % side)).collect();
    frequencies.sort_by_key(|(down, across)| (down + across, *down));
    let mut next = [0; 3];
    let mut values = Vec::with_capacity(filters * 3 * side * side);
    for filter in 0..filters {
        let colour = [0, 1, 0, 2][filter % 4];
        let (down, across) = frequencies[next[colour] % frequencies.len()];
        next[colour] += 1;
        let wave = |frequency: usize, place: usize| {
            let norm = if frequency == 0 { 1.0 } else { 2.0 };
            let angle = std::f64::consts::PI * frequency as f64 * (place as f64 + 0.5) / side as f64;
            (norm / side as f64).sqrt() * angle.cos()
        };
        // The spectrum of pictures falls about with the frequency.
        let strength = (1 + down + across) as f64 / side as f64;
        for weight in COLOURS[colour] {
            for row in 0..side {
                for column in 0..side {
                    values.push((strength * weight * wave(down, row) * wave(across, column)) as f32);
                }
            }
        }
    }
    values
}

/// `width` sines and cosines of a place along an axis.
fn waves(place: usize, width: usize) -> impl Iterator<Item = f32> {
    (0..width).map(move |index| {
        let frequency = 10_000_f64.powf(-((index / 2 * 2) as f64) / width as f64);
        let angle = place as f64 * frequency;
        POSITION * if index % 2 == 0 { angle.sin() } else { angle.cos() } as f32
    })
}

/// A standard normal value, by Box and Muller.
fn normal(generator: &mut impl Rng) -> f32 {
    let (radius, angle): (f64, f64) = (generator.random(), generator.random());
    ((-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
}

/// A tensor to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) init: Init,
    /// The name that its random values are drawn for: two tensors of the same begin alike.
    pub(super) drawn_for: String,
}

impl Planned {
    /// First values; each tensor has a generator of its own.
    pub(super) fn values(&self, seed: u64) -> Vec<f32> {
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let name = self.drawn_for.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        let mut generator = Pcg64Mcg::seed_from_u64(seed ^ name);
        self.init.values(self.shape.iter().product(), &mut generator)
    }
}

/// The tensors of a state dict as they are collected.
#[derive(Default)]
struct Plan(Vec<Planned>);

/// Queries and keys of an image encoder begin as the same matrix, larger than others by this: a cell then looks at itself, at its neighbours
/// (whose positions are alike) and at what looks like it, which is what such layers learn first (after Trockman and Kolter 2023, "Mimetic
/// initialization of self-attention layers").
const QUERY_KEY_GAIN: f32 = 1.7;

/// Deviation of embeddings.
const EMBEDDING: f32 = 0.02;
/// Amplitude of positions, about as large as what patches embed to.
const POSITION: f32 = 0.5;

impl Plan {
    fn add(&mut self, name: &str, shape: &[usize], init: Init) {
        self.add_drawn_for(name, name, shape, init);
    }

    fn add_drawn_for(&mut self, drawn_for: &str, name: &str, shape: &[usize], init: Init) {
        let (name, drawn_for) = (name.to_owned(), drawn_for.to_owned());
        self.0.push(Planned { name, shape: shape.to_vec(), init, drawn_for });
    }

    /// A weight whose values sum over `summed` inputs; `share` < 1 for what is added to a residual stream.
    fn weight(&mut self, name: &str, shape: &[usize], summed: usize, share: f32) {
        self.add(&format!("{name}.weight"), shape, Init::Uniform(share / (summed as f32).sqrt()));
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) {
        self.residual(name, input, output, 1.0);
    }

    fn residual(&mut self, name: &str, input: usize, output: usize, share: f32) {
        self.weight(name, &[output, input], input, share);
        self.add(&format!("{name}.bias"), &[output], Init::Zeros);
    }

    fn norm(&mut self, name: &str, dim: usize) {
        self.add(&format!("{name}.weight"), &[dim], Init::Ones);
        self.add(&format!("{name}.bias"), &[dim], Init::Zeros);
    }

    fn embedding(&mut self, name: &str, shape: &[usize]) {
        self.add(name, shape, Init::Normal(EMBEDDING));
    }
}

/// The share of what each of two branches in each of `layers` adds to a residual stream, so that it does not grow with depth.
fn share(layers: usize) -> f32 {
    1.0 / (2.0 * layers as f32).sqrt()
}

/// The tensors of the checkpoint (spec 2.1).
pub(super) fn checkpoint(sizes: &ModelSizes) -> Vec<Planned> {
    let mut plan = Plan::default();
    let language = &sizes.language;
    let (width, inner) = (language.hidden_size, language.intermediate_size);
    plan.embedding("model.embed_tokens.weight", &[sizes.vocab_size, width]);
    let share = share(language.layers);
    for layer in 0..language.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        for part in ["q_proj", "k_proj", "v_proj"] {
            plan.weight(&name(&format!("self_attn.{part}")), &[width, width], width, 1.0);
        }
        plan.weight(&name("self_attn.o_proj"), &[width, width], width, share);
        plan.weight(&name("mlp.gate_proj"), &[inner, width], width, 1.0);
        plan.weight(&name("mlp.up_proj"), &[inner, width], width, 1.0);
        plan.weight(&name("mlp.down_proj"), &[width, inner], inner, share);
        plan.add(&name("input_layernorm.weight"), &[width], Init::Ones);
        plan.add(&name("post_attention_layernorm.weight"), &[width], Init::Ones);
    }
    plan.add("model.norm.weight", &[width], Init::Ones);
    plan.embedding("lm_head.weight", &[sizes.vocab_size, width]);
    plan.linear("model.mm_projector.0", sizes.clip.hidden_size, width);
    plan.linear("model.mm_projector.2", width, width);
    plan.linear("model.text_hidden_fcs.0.0", width, width);
    plan.linear("model.text_hidden_fcs.0.2", width, sizes.decoder.dim);
    let root = "model.visual_model";
    image_encoder(&mut plan, &format!("{root}.image_encoder"), &sizes.sam, sizes.decoder.dim);
    prompt_encoder(&mut plan, &format!("{root}.prompt_encoder"), sizes.decoder.dim);
    mask_decoder(&mut plan, &format!("{root}.mask_decoder"), &sizes.decoder);
    plan.0
}

fn image_encoder(plan: &mut Plan, root: &str, sam: &SamSizes, out: usize) {
    let (width, patch) = (sam.hidden_size, sam.patch_size);
    let grid = sam.image_size / patch;
    plan.add(&format!("{root}.pos_embed"), &[1, grid, grid, width], Init::Positions { leading: 0, width });
    let filters = Init::Cosines { side: patch };
    plan.add(&format!("{root}.patch_embed.proj.weight"), &[width, 3, patch, patch], filters);
    plan.add(&format!("{root}.patch_embed.proj.bias"), &[width], Init::Zeros);
    let share = share(sam.layers);
    for block in 0..sam.layers {
        let name = format!("{root}.blocks.{block}");
        plan.norm(&format!("{name}.norm1"), width);
        plan.norm(&format!("{name}.norm2"), width);
        let bound = 1.0 / (width as f32).sqrt();
        let pairs = Init::QueriesKeysValues(QUERY_KEY_GAIN * bound, bound);
        plan.add(&format!("{name}.attn.qkv.weight"), &[3 * width, width], pairs);
        plan.add(&format!("{name}.attn.qkv.bias"), &[3 * width], Init::Zeros);
        plan.residual(&format!("{name}.attn.proj"), width, width, share);
        let side = if sam.global_layers.contains(&block) { grid } else { sam.window };
        for axis in ["h", "w"] {
            let shape = [2 * side - 1, width / sam.heads];
            plan.add(&format!("{name}.attn.rel_pos_{axis}"), &shape, Init::Zeros);
        }
        plan.linear(&format!("{name}.mlp.lin1"), width, 4 * width);
        plan.residual(&format!("{name}.mlp.lin2"), 4 * width, width, share);
    }
    plan.weight(&format!("{root}.neck.0"), &[out, width, 1, 1], width, 1.0);
    plan.norm(&format!("{root}.neck.1"), out);
    plan.weight(&format!("{root}.neck.2"), &[out, out, 3, 3], 9 * out, 1.0);
    plan.norm(&format!("{root}.neck.3"), out);
}

fn prompt_encoder(plan: &mut Plan, root: &str, dim: usize) {
    let frequencies = format!("{root}.pe_layer.positional_encoding_gaussian_matrix");
    plan.add(&frequencies, &[2, dim / 2], Init::Normal(1.0));
    for index in 0..4 {
        plan.add(&format!("{root}.point_embeddings.{index}.weight"), &[1, dim], Init::Normal(1.0));
    }
    plan.add(&format!("{root}.not_a_point_embed.weight"), &[1, dim], Init::Normal(1.0));
    plan.add(&format!("{root}.no_mask_embed.weight"), &[1, dim], Init::Normal(1.0));
    for (part, shape) in [("0", [4, 1, 2, 2]), ("3", [16, 4, 2, 2]), ("6", [dim, 16, 1, 1])] {
        let name = format!("{root}.mask_downscaling.{part}");
        plan.weight(&name, &shape, shape[1..].iter().product(), 1.0);
        plan.add(&format!("{name}.bias"), &shape[..1], Init::Zeros);
    }
    plan.norm(&format!("{root}.mask_downscaling.1"), 4);
    plan.norm(&format!("{root}.mask_downscaling.4"), 16);
}

fn mask_decoder(plan: &mut Plan, root: &str, decoder: &DecoderSizes) {
    const LAYERS: usize = 2;
    let dim = decoder.dim;
    plan.add(&format!("{root}.iou_token.weight"), &[1, dim], Init::Normal(1.0));
    plan.add(&format!("{root}.mask_tokens.weight"), &[4, dim], Init::Normal(1.0));
    let share = share(LAYERS);
    let attention = |plan: &mut Plan, name: &str, inner: usize| {
        for part in ["q_proj", "k_proj", "v_proj"] {
            plan.linear(&format!("{name}.{part}"), dim, inner);
        }
        plan.residual(&format!("{name}.out_proj"), inner, dim, share);
    };
    let transformer = format!("{root}.transformer");
    for layer in 0..LAYERS {
        let name = format!("{transformer}.layers.{layer}");
        attention(plan, &format!("{name}.self_attn"), dim);
        attention(plan, &format!("{name}.cross_attn_token_to_image"), dim / 2);
        attention(plan, &format!("{name}.cross_attn_image_to_token"), dim / 2);
        for norm in 1..=4 {
            plan.norm(&format!("{name}.norm{norm}"), dim);
        }
        plan.linear(&format!("{name}.mlp.lin1"), dim, decoder.intermediate_size);
        plan.residual(&format!("{name}.mlp.lin2"), decoder.intermediate_size, dim, share);
    }
    attention(plan, &format!("{transformer}.final_attn_token_to_image"), dim / 2);
    plan.norm(&format!("{transformer}.norm_final_attn"), dim);
    for (part, input, output) in [("0", dim, dim / 4), ("3", dim / 4, dim / 8)] {
        let name = format!("{root}.output_upscaling.{part}");
        plan.weight(&name, &[input, output, 2, 2], input, 1.0);
        plan.add(&format!("{name}.bias"), &[output], Init::Zeros);
    }
    plan.norm(&format!("{root}.output_upscaling.1"), dim / 4);
    let mlp = |plan: &mut Plan, name: &str, output: usize| {
        plan.linear(&format!("{name}.layers.0"), dim, dim);
        plan.linear(&format!("{name}.layers.1"), dim, dim);
        plan.linear(&format!("{name}.layers.2"), dim, output);
    };
    for mask in 0..4 {
        mlp(plan, &format!("{root}.output_hypernetworks_mlps.{mask}"), dim / 8);
    }
    mlp(plan, &format!("{root}.iou_prediction_head"), 4);
}

/// The tensors of the vision tower (spec 2.2).
pub(super) fn vision_tower(clip: &ClipSizes) -> Vec<Planned> {
    let mut plan = Plan::default();
    let (width, patch) = (clip.hidden_size, clip.patch_size);
    let tokens = (clip.image_size / patch).pow(2) + 1;
    let embeddings = "vision_model.embeddings";
    plan.embedding(&format!("{embeddings}.class_embedding"), &[width]);
    let filters = Init::Cosines { side: patch };
    plan.add(&format!("{embeddings}.patch_embedding.weight"), &[width, 3, patch, patch], filters);
    let positions = Init::Positions { leading: 1, width };
    plan.add(&format!("{embeddings}.position_embedding.weight"), &[tokens, width], positions);
    plan.norm("vision_model.pre_layrnorm", width);
    plan.norm("vision_model.post_layernorm", width);
    let share = share(clip.layers);
    for layer in 0..clip.layers {
        let name = format!("vision_model.encoder.layers.{layer}");
        let bound = 1.0 / (width as f32).sqrt();
        let query = format!("{name}.self_attn.q_proj.weight");
        for part in ["q_proj", "k_proj"] {
            let weight = format!("{name}.self_attn.{part}.weight");
            plan.add_drawn_for(&query, &weight, &[width, width], Init::Uniform(QUERY_KEY_GAIN * bound));
            plan.add(&format!("{name}.self_attn.{part}.bias"), &[width], Init::Zeros);
        }
        plan.linear(&format!("{name}.self_attn.v_proj"), width, width);
        plan.residual(&format!("{name}.self_attn.out_proj"), width, width, share);
        plan.norm(&format!("{name}.layer_norm1"), width);
        plan.norm(&format!("{name}.layer_norm2"), width);
        plan.linear(&format!("{name}.mlp.fc1"), width, 4 * width);
        plan.residual(&format!("{name}.mlp.fc2"), 4 * width, width, share);
    }
    plan.0
}
