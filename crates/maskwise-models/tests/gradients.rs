//! Every variable that the specification trains gets the gradient that finite differences show, through the whole of READ:
//! language model, similarity points with DtoC, prompt encoder, mask decoder, postprocessing and losses. The image encoders stay
//! frozen, as in training. Needs no recorded data.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use common::goldens::flat;
use common::losses::{binary_cross_entropy, cross_entropy, dice};
use common::tiny::{self, CLIP_SIZE, SAM_SIZE, SPECIAL};
use maskwise_data::image::PixelValues;
use maskwise_data::text::IMAGE_PLACEHOLDER;
use maskwise_models::heads::similarity_points::{Sampling, similarity, similarity_points};
use maskwise_models::sam::{PointPrompt, Prompts, postprocess_masks};
use maskwise_models::systems::read::{ReadModel, SegmentInputs};
use std::collections::BTreeMap;

const ORIGINAL: (usize, usize) = (40, 60);
const INPUT: (usize, usize) = (43, SAM_SIZE);

/// The training step whose loss is differentiated.
struct Step {
    ids: Vec<i64>,
    pixels: PixelValues,
    embedding: Tensor,
    target: Tensor,
}

/// How the mask is made: by the system, or by its parts, with or without a gradient through the points.
#[derive(Clone, Copy)]
enum Path {
    System,
    Parts { detach_points: bool },
}

impl Step {
    fn new(model: &ReadModel) -> Self {
        let (seg, start, end) =
            (i64::from(SPECIAL.seg), i64::from(SPECIAL.im_start), i64::from(SPECIAL.im_end));
        let ids = vec![1, 5, start, IMAGE_PLACEHOLDER, end, 6, 9, 7, seg, 4, 2];
        let (height, width) = ORIGINAL;
        let inside =
            |pixel: usize| (10..28).contains(&(pixel / width)) && (20..50).contains(&(pixel % width));
        let target: Vec<f32> = (0..height * width).map(|pixel| f32::from(u8::from(inside(pixel)))).collect();
        Self {
            ids,
            pixels: tiny::varied_pixels(CLIP_SIZE, 501),
            embedding: model.encode_for_masks(&tiny::varied_pixels(SAM_SIZE, 502)).unwrap().detach(),
            target: Tensor::from_vec(target, (1, height, width), &Device::Cpu).unwrap(),
        }
    }

    /// CE + 2·BCE + 0.5·DICE.
    fn loss(&self, model: &ReadModel, path: Path) -> Tensor {
        let image_tokens = model.encode_for_language(&self.pixels).unwrap();
        let hidden = model.hidden_states(&self.ids, &image_tokens).unwrap();
        let logits = model.language_model.logits(&hidden).unwrap();
        let next: Vec<Option<u32>> = self.next_ids(model.image_tokens());
        let ce = cross_entropy(&logits.narrow(0, 0, next.len()).unwrap(), &next).unwrap();
        let mask = match path {
            Path::System => {
                let inputs =
                    SegmentInputs { embedding: &self.embedding, input_size: INPUT, original_size: ORIGINAL };
                model.segment(&self.ids, &hidden, inputs).unwrap().remove(0).logits.unsqueeze(0).unwrap()
            }
            Path::Parts { detach_points } => self.mask_by_parts(model, &hidden, detach_points),
        };
        let bce = (binary_cross_entropy(&mask, &self.target).unwrap() * 2.0).unwrap();
        let dice = (dice(&mask, &self.target).unwrap() * 0.5).unwrap();
        ((ce + bce).unwrap() + dice).unwrap()
    }

    /// The id after each position, where it is text.
    fn next_ids(&self, image_tokens: usize) -> Vec<Option<u32>> {
        let expanded: Vec<Option<u32>> = self
            .ids
            .iter()
            .flat_map(|id| {
                if *id == IMAGE_PLACEHOLDER { vec![None; image_tokens] } else { vec![Some(*id as u32)] }
            })
            .collect();
        expanded[1..].to_vec()
    }

    fn mask_by_parts(&self, model: &ReadModel, hidden: &Tensor, detach_points: bool) -> Tensor {
        let place = self.ids.iter().position(|id| *id == IMAGE_PLACEHOLDER).unwrap();
        let image_states = hidden.narrow(0, place, model.image_tokens()).unwrap();
        let state = hidden.get(model.seg_positions(&self.ids).unwrap()[0]).unwrap();
        let map = similarity(&image_states, &state).unwrap();
        let points = similarity_points(&map, ORIGINAL, model.similarity_points.as_ref().unwrap()).unwrap();
        let coordinates =
            if detach_points { points.coordinates.detach() } else { points.coordinates.clone() };
        let scale = [INPUT.1 as f32 / ORIGINAL.1 as f32, INPUT.0 as f32 / ORIGINAL.0 as f32];
        let scale = Tensor::new(&[scale], &Device::Cpu).unwrap();
        let coordinates = coordinates.broadcast_mul(&scale).unwrap().unsqueeze(0).unwrap();
        let text = model.text_hidden_fcs.forward(&state.unsqueeze(0).unwrap()).unwrap().unsqueeze(1).unwrap();
        let prompt = PointPrompt { coordinates, labels: vec![points.labels()] };
        let prompts = Prompts { points: Some(prompt), text: Some(text), ..Prompts::default() };
        let prompts = model.sam.prompt_encoder.forward(&prompts).unwrap();
        let prediction = model.sam.decode(&self.embedding, &prompts, false).unwrap();
        postprocess_masks(&prediction.logits, SAM_SIZE, INPUT, ORIGINAL).unwrap().squeeze(1).unwrap()
    }
}

/// What the loss is differentiated by: all but the frozen encoders and the frequencies of the positions, which are a constant.
fn differentiated(name: &str) -> bool {
    const FROZEN: [&str; 3] = ["vision_model.", ".image_encoder.", ".positional_encoding_gaussian_matrix"];
    FROZEN.iter().all(|part| !name.contains(part))
}

/// Tensors that one mask prompted by points and text does not touch.
fn takes_no_part(name: &str) -> bool {
    const UNTOUCHED: [&str; 7] = [
        "mask_decoder.iou_prediction_head.",
        "mask_decoder.output_hypernetworks_mlps.1.",
        "mask_decoder.output_hypernetworks_mlps.2.",
        "mask_decoder.output_hypernetworks_mlps.3.",
        "prompt_encoder.mask_downscaling.",
        "prompt_encoder.point_embeddings.2.",
        "prompt_encoder.point_embeddings.3.",
    ];
    UNTOUCHED.iter().any(|part| name.contains(part))
}

fn variables() -> (BTreeMap<String, Tensor>, BTreeMap<String, Var>) {
    let mut values = tiny::tensors();
    let mut variables = BTreeMap::new();
    for (name, tensor) in values.iter_mut().filter(|(name, _)| differentiated(name)) {
        let variable = Var::from_tensor(tensor).unwrap();
        *tensor = variable.as_tensor().clone();
        variables.insert(name.clone(), variable);
    }
    (values, variables)
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// Step of the differences, as a distance in the space of one tensor.
const STEP: f64 = 8e-3;
/// Largest relative difference of a directional derivative.
const RELATIVE: f64 = 2e-2;
/// What rounding of the loss leaves of a difference.
const ROUNDING: f64 = 2e-4;

#[test]
fn every_trained_variable_has_the_gradient_of_finite_differences() {
    let (values, variables) = variables();
    let model = tiny::build(&values);
    let step = Step::new(&model);
    let loss = step.loss(&model, Path::System);
    let gradients = loss.backward().unwrap();
    let constants: BTreeMap<String, Tensor> =
        values.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect();

    let (mut strong, mut worst) = (0, 0.0_f64);
    for (name, variable) in &variables {
        let Some(gradient) = gradients.get(variable) else {
            assert!(takes_no_part(name), "{name} has no gradient");
            continue;
        };
        let gradient = flat(gradient);
        assert!(gradient.iter().all(|value| value.is_finite()), "{name}: the gradient is not finite");
        if takes_no_part(name) {
            assert_eq!(norm(&gradient), 0.0, "{name} takes no part but has a gradient");
            continue;
        }
        strong += usize::from(norm(&gradient) > 10.0 * ROUNDING);
        for direction in directions(&gradient) {
            let analytic: f64 =
                gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let numeric = derivative(&constants, name, &direction, &step);
            let allowed = RELATIVE * norm(&gradient) + ROUNDING;
            worst = worst.max((analytic - numeric).abs() / (norm(&gradient) + ROUNDING / RELATIVE));
            assert!(
                (analytic - numeric).abs() <= allowed,
                "{name}: derivative {analytic:.3e} by backward, {numeric:.3e} by differences"
            );
        }
    }
    println!(
        "{strong} of {} gradients stand clear of rounding; worst difference {worst:.1e}",
        variables.len()
    );
    assert!(
        2 * strong > variables.len(),
        "only {strong} of {} gradients are large enough to tell",
        variables.len()
    );
}

/// Two directions of length 1: along the gradient, and one that does not know it.
fn directions(gradient: &[f32]) -> Vec<Vec<f32>> {
    let any: Vec<f32> = (0..gradient.len()).map(|index| tiny::varied(index, 777)).collect();
    let unit = |values: &[f32]| {
        let length = norm(values).max(1e-30) as f32;
        values.iter().map(|value| value / length).collect::<Vec<_>>()
    };
    vec![unit(gradient), unit(&any)]
}

/// The derivative of the loss along `direction` of the tensor `name`, by Richardson's extrapolation of central differences.
fn derivative(constants: &BTreeMap<String, Tensor>, name: &str, direction: &[f32], step: &Step) -> f64 {
    let values = flat(&constants[name]);
    let at = |distance: f64| {
        let moved: Vec<f32> =
            values.iter().zip(direction).map(|(value, along)| value + distance as f32 * along).collect();
        let mut moved_values = constants.clone();
        let tensor = Tensor::from_vec(moved, constants[name].shape(), &Device::Cpu).unwrap();
        moved_values.insert(name.to_owned(), tensor);
        let model = tiny::build(&moved_values);
        f64::from(step.loss(&model, Path::System).to_scalar::<f32>().unwrap())
    };
    let central = |distance: f64| (at(distance) - at(-distance)) / (2.0 * distance);
    (4.0 * central(STEP) - central(2.0 * STEP)) / 3.0
}

#[test]
fn the_gradient_flows_through_the_points() {
    let (values, variables) = variables();
    let model = tiny::build(&values);
    let step = Step::new(&model);
    let run = |path: Path| {
        let loss = step.loss(&model, path);
        (loss.to_scalar::<f32>().unwrap(), loss.backward().unwrap())
    };
    let (system_loss, system) = run(Path::System);
    let (whole_loss, whole) = run(Path::Parts { detach_points: false });
    let (cut_loss, cut) = run(Path::Parts { detach_points: true });
    assert!((system_loss - whole_loss).abs() < 1e-5 && (whole_loss - cut_loss).abs() < 1e-6);

    for layer in 0..2 {
        let variable = &variables[&format!("model.layers.{layer}.self_attn.q_proj.weight")];
        let of = |gradients: &GradStore| flat(gradients.get(variable).unwrap());
        let apart = |left: &[f32], right: &[f32]| {
            let difference: Vec<f32> = left.iter().zip(right).map(|(left, right)| left - right).collect();
            norm(&difference) / norm(left)
        };
        let (system, whole, cut) = (of(&system), of(&whole), of(&cut));
        let (noise, share) = (apart(&system, &whole), apart(&system, &cut));
        println!(
            "layer {layer}: the points' share of the gradient of q_proj is {share:.1e}, rounding {noise:.1e}"
        );
        assert!(noise < 1e-5, "layer {layer}: the parts do not add up to the system ({noise})");
        assert!(
            share > 20.0 * noise.max(1e-6),
            "layer {layer}: no gradient comes through the points ({share})"
        );
    }
}

/// The rows of the paper's Table 6 beside the whole: points alone, and points without DtoC's gradient.
#[test]
fn prompts_that_are_switched_off_get_no_gradient() {
    let (values, variables) = variables();
    let step = Step::new(&tiny::build(&values));
    let gradients = |change: fn(&mut ReadModel)| {
        let mut model = tiny::build(&values);
        change(&mut model);
        step.loss(&model, Path::System).backward().unwrap()
    };
    let of = |gradients: &GradStore, name: &str| gradients.get(&variables[name]).map(flat);
    let (head, query) = ("model.text_hidden_fcs.0.2.weight", "model.layers.1.self_attn.q_proj.weight");

    let points_only = gradients(|model| model.text_prompt = false);
    assert!(of(&points_only, head).is_none());
    assert!(norm(&of(&points_only, query).unwrap()) > 0.0);
    let text_only = gradients(|model| model.similarity_points = None);
    let labels = "model.visual_model.prompt_encoder.point_embeddings.1.weight";
    assert!(norm(&of(&text_only, head).unwrap()) > 0.0 && of(&text_only, labels).is_none());

    let discrete = gradients(|model| {
        model.similarity_points.as_mut().unwrap().sampling = Sampling::Discrete;
    });
    assert!(norm(&of(&discrete, head).unwrap()) > 0.0);
    assert!(norm(&of(&discrete, labels).unwrap()) > 0.0);
    let points = |change: fn(&mut ReadModel)| {
        let mut model = tiny::build(&values);
        change(&mut model);
        let image_tokens = model.encode_for_language(&step.pixels).unwrap();
        let hidden = model.hidden_states(&step.ids, &image_tokens).unwrap();
        let inputs = SegmentInputs { embedding: &step.embedding, input_size: INPUT, original_size: ORIGINAL };
        let mask = model.segment(&step.ids, &hidden, inputs).unwrap().remove(0);
        (mask.sparse.dim(0).unwrap(), mask.sam_points.unwrap().sum_all().unwrap().backward().unwrap())
    };
    let (tokens, cut) = points(|model| {
        model.text_prompt = false;
        model.similarity_points.as_mut().unwrap().sampling = Sampling::Discrete;
    });
    assert_eq!(tokens, 9, "eight points and the padding point");
    assert!(of(&cut, query).is_none(), "a gradient flows through discrete points");
    let (tokens, whole) = points(|_| {});
    assert!(tokens == 10 && norm(&of(&whole, query).unwrap()) > 0.0);
}
