//! Names and shapes of the published checkpoints, without their values.

use crate::clip::ClipVisionConfig;
use crate::llama::LlamaConfig;

/// Width of CLIP ViT-L, which every published checkpoint has as its tower.
const CLIP_WIDTH: usize = 1024;

/// Tensors by name and shape, in the order of the published files.
#[derive(Debug, Clone, Default)]
pub struct Shapes(pub Vec<(String, Vec<usize>)>);

impl Shapes {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.to_owned(), shape.to_vec()));
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) {
        self.add(&format!("{name}.weight"), &[output, input]);
        self.add(&format!("{name}.bias"), &[output]);
    }

    fn norm(&mut self, name: &str, dim: usize) {
        self.add(&format!("{name}.weight"), &[dim]);
        self.add(&format!("{name}.bias"), &[dim]);
    }
}

/// The language model of READ-7B, LISA-7B and SESAME-7B.
pub fn llama_7b() -> LlamaConfig {
    llama(4096, 11_008, 32, 32)
}

/// The language model of the 13B checkpoints.
pub fn llama_13b() -> LlamaConfig {
    llama(5120, 13_824, 40, 40)
}

fn llama(width: usize, inner: usize, layers: usize, heads: usize) -> LlamaConfig {
    LlamaConfig {
        vocab_size: 32_003,
        hidden_size: width,
        intermediate_size: inner,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: None,
        rms_norm_eps: 1e-5,
        max_position_embeddings: 4096,
        rope_theta: 10_000.0,
        rope_scaling: None,
        hidden_act: "silu".to_owned(),
    }
}

/// CLIP ViT-L/14 at 336 pixels.
pub fn clip_vit_l() -> ClipVisionConfig {
    ClipVisionConfig {
        hidden_size: CLIP_WIDTH,
        intermediate_size: 4 * CLIP_WIDTH,
        num_hidden_layers: 24,
        num_attention_heads: 16,
        image_size: 336,
        patch_size: 14,
        ..ClipVisionConfig::default()
    }
}

/// The sizes of SAM's image encoder; the rest of SAM is the same in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamSize {
    /// Width of the states.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
}

impl SamSize {
    /// ViT-B.
    pub const VIT_B: Self = Self { width: 768, depth: 12, heads: 12 };
    /// ViT-L.
    pub const VIT_L: Self = Self { width: 1024, depth: 24, heads: 16 };
    /// ViT-H, which READ, LISA and SESAME use.
    pub const VIT_H: Self = Self { width: 1280, depth: 32, heads: 16 };

    /// Whether a block attends globally: every quarter of the blocks ends with one that does.
    pub fn is_global(self, block: usize) -> bool {
        (block + 1).is_multiple_of(self.depth / 4)
    }
}

/// A READ checkpoint: language model, projector, `text_hidden_fcs` and SAM.
pub fn read_shapes(language: &LlamaConfig, sam: SamSize) -> Shapes {
    let mut shapes = Shapes::default();
    let (width, inner, vocabulary) = (language.hidden_size, language.intermediate_size, language.vocab_size);
    shapes.add("model.embed_tokens.weight", &[vocabulary, width]);
    for layer in 0..language.num_hidden_layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            shapes.add(&name(&format!("self_attn.{part}")), &[width, width]);
        }
        shapes.add(&name("mlp.gate_proj"), &[inner, width]);
        shapes.add(&name("mlp.up_proj"), &[inner, width]);
        shapes.add(&name("mlp.down_proj"), &[width, inner]);
        shapes.add(&name("input_layernorm"), &[width]);
        shapes.add(&name("post_attention_layernorm"), &[width]);
    }
    shapes.add("model.norm.weight", &[width]);
    shapes.add("lm_head.weight", &[vocabulary, width]);
    shapes.linear("model.mm_projector.0", CLIP_WIDTH, width);
    shapes.linear("model.mm_projector.2", width, width);
    shapes.linear("model.text_hidden_fcs.0.0", width, width);
    shapes.linear("model.text_hidden_fcs.0.2", width, 256);
    sam_shapes(&mut shapes, sam, "model.visual_model");
    shapes
}

fn sam_shapes(shapes: &mut Shapes, size: SamSize, root: &str) {
    let SamSize { width, depth, heads } = size;
    let encoder = format!("{root}.image_encoder");
    shapes.add(&format!("{encoder}.pos_embed"), &[1, 64, 64, width]);
    shapes.add(&format!("{encoder}.patch_embed.proj.weight"), &[width, 3, 16, 16]);
    shapes.add(&format!("{encoder}.patch_embed.proj.bias"), &[width]);
    for block in 0..depth {
        let name = format!("{encoder}.blocks.{block}");
        shapes.norm(&format!("{name}.norm1"), width);
        shapes.norm(&format!("{name}.norm2"), width);
        shapes.linear(&format!("{name}.attn.qkv"), width, 3 * width);
        shapes.linear(&format!("{name}.attn.proj"), width, width);
        let offsets = if size.is_global(block) { 127 } else { 27 };
        shapes.add(&format!("{name}.attn.rel_pos_h"), &[offsets, width / heads]);
        shapes.add(&format!("{name}.attn.rel_pos_w"), &[offsets, width / heads]);
        shapes.linear(&format!("{name}.mlp.lin1"), width, 4 * width);
        shapes.linear(&format!("{name}.mlp.lin2"), 4 * width, width);
    }
    shapes.add(&format!("{encoder}.neck.0.weight"), &[256, width, 1, 1]);
    shapes.norm(&format!("{encoder}.neck.1"), 256);
    shapes.add(&format!("{encoder}.neck.2.weight"), &[256, 256, 3, 3]);
    shapes.norm(&format!("{encoder}.neck.3"), 256);

    let prompt = format!("{root}.prompt_encoder");
    shapes.add(&format!("{prompt}.pe_layer.positional_encoding_gaussian_matrix"), &[2, 128]);
    for part in ["point_embeddings.0", "point_embeddings.1", "point_embeddings.2", "point_embeddings.3"] {
        shapes.add(&format!("{prompt}.{part}.weight"), &[1, 256]);
    }
    shapes.add(&format!("{prompt}.not_a_point_embed.weight"), &[1, 256]);
    shapes.add(&format!("{prompt}.no_mask_embed.weight"), &[1, 256]);
    for (part, shape) in [("0", [4, 1, 2, 2]), ("3", [16, 4, 2, 2]), ("6", [256, 16, 1, 1])] {
        shapes.add(&format!("{prompt}.mask_downscaling.{part}.weight"), &shape);
        shapes.add(&format!("{prompt}.mask_downscaling.{part}.bias"), &shape[..1]);
    }
    shapes.norm(&format!("{prompt}.mask_downscaling.1"), 4);
    shapes.norm(&format!("{prompt}.mask_downscaling.4"), 16);
    sam_mask_decoder(shapes, &format!("{root}.mask_decoder"));
}

fn sam_mask_decoder(shapes: &mut Shapes, decoder: &str) {
    shapes.add(&format!("{decoder}.iou_token.weight"), &[1, 256]);
    shapes.add(&format!("{decoder}.mask_tokens.weight"), &[4, 256]);
    let attention = |shapes: &mut Shapes, name: &str, inner: usize| {
        for part in ["q_proj", "k_proj", "v_proj"] {
            shapes.linear(&format!("{name}.{part}"), 256, inner);
        }
        shapes.linear(&format!("{name}.out_proj"), inner, 256);
    };
    let transformer = format!("{decoder}.transformer");
    for layer in 0..2 {
        let name = format!("{transformer}.layers.{layer}");
        attention(shapes, &format!("{name}.self_attn"), 256);
        attention(shapes, &format!("{name}.cross_attn_token_to_image"), 128);
        attention(shapes, &format!("{name}.cross_attn_image_to_token"), 128);
        for norm in 1..=4 {
            shapes.norm(&format!("{name}.norm{norm}"), 256);
        }
        shapes.linear(&format!("{name}.mlp.lin1"), 256, 2048);
        shapes.linear(&format!("{name}.mlp.lin2"), 2048, 256);
    }
    attention(shapes, &format!("{transformer}.final_attn_token_to_image"), 128);
    shapes.norm(&format!("{transformer}.norm_final_attn"), 256);
    for (part, shape) in [("0", [256, 64, 2, 2]), ("3", [64, 32, 2, 2])] {
        shapes.add(&format!("{decoder}.output_upscaling.{part}.weight"), &shape);
        shapes.add(&format!("{decoder}.output_upscaling.{part}.bias"), &shape[1..2]);
    }
    shapes.norm(&format!("{decoder}.output_upscaling.1"), 64);
    let mlp = |shapes: &mut Shapes, name: &str, output: usize| {
        shapes.linear(&format!("{name}.layers.0"), 256, 256);
        shapes.linear(&format!("{name}.layers.1"), 256, 256);
        shapes.linear(&format!("{name}.layers.2"), 256, output);
    };
    for mask in 0..4 {
        mlp(shapes, &format!("{decoder}.output_hypernetworks_mlps.{mask}"), 32);
    }
    mlp(shapes, &format!("{decoder}.iou_prediction_head"), 4);
}

/// The vision tower.
pub fn clip_shapes(config: &ClipVisionConfig) -> Shapes {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let patch = config.patch_size;
    let mut shapes = Shapes::default();
    shapes.add("vision_model.embeddings.class_embedding", &[width]);
    shapes.add("vision_model.embeddings.patch_embedding.weight", &[width, 3, patch, patch]);
    shapes.add("vision_model.embeddings.position_embedding.weight", &[config.grid().pow(2) + 1, width]);
    shapes.norm("vision_model.pre_layrnorm", width);
    shapes.norm("vision_model.post_layernorm", width);
    for layer in 0..config.num_hidden_layers {
        let name = format!("vision_model.encoder.layers.{layer}");
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            shapes.linear(&format!("{name}.self_attn.{part}"), width, width);
        }
        shapes.norm(&format!("{name}.layer_norm1"), width);
        shapes.norm(&format!("{name}.layer_norm2"), width);
        shapes.linear(&format!("{name}.mlp.fc1"), width, inner);
        shapes.linear(&format!("{name}.mlp.fc2"), inner, width);
    }
    shapes
}
