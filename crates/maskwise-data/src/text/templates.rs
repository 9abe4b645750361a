//! The conversation templates of the reference implementations (`conv_templates` of READ, SESAME and LISA), as data.
//!
//! The strings are part of the checkpoints' input format: the models were trained on exactly these words.

use super::conversation::SeparatorStyle::{self, Llama2, Mpt, Plain, Single, Two};

/// A template that is compiled in.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) system: &'static str,
    pub(super) roles: [&'static str; 2],
    pub(super) style: SeparatorStyle,
    pub(super) sep: &'static str,
    pub(super) sep2: Option<&'static str>,
}

const HUMAN: &str = "A chat between a curious human and an artificial intelligence assistant. The assistant gives \
    helpful, detailed, and polite answers to the human's questions.";
const USER: &str = "A chat between a curious user and an artificial intelligence assistant. The assistant gives \
    helpful, detailed, and polite answers to the user's questions.";
const TAGGED: &str = "A chat between a curious user and an artificial intelligence assistant. The assistant is able \
    to understand the visual content that the user provides, and assist the user with a variety of \
    tasks using natural language.The visual content will be provided with the following format: \
    <Image>visual content</Image>.";
const LLAMA_2: &str = "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, \
    while being safe.  Your answers should not include any harmful, unethical, racist, sexist, \
    toxic, dangerous, or illegal content. Please ensure that your responses are socially unbiased \
    and positive in nature.\n\nIf a question does not make any sense, or is not factually coherent, \
    explain why instead of answering something not correct. If you don't know the answer to a \
    question, please don't share false information.";
const VISION: &str = "You are a helpful language and vision assistant. You are able to understand the visual content \
    that the user provides, and assist the user with a variety of tasks using natural language.";
const MPT: &str = "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The assistant \
    gives helpful and honest answers.";

pub(super) const BUILT_IN: [BuiltIn; 13] = [
    BuiltIn {
        name: "default",
        system: HUMAN,
        roles: ["Human", "Assistant"],
        style: Single,
        sep: "###",
        sep2: None,
    },
    BuiltIn {
        name: "v0",
        system: HUMAN,
        roles: ["Human", "Assistant"],
        style: Single,
        sep: "###",
        sep2: None,
    },
    BuiltIn {
        name: "v1",
        system: USER,
        roles: ["USER", "ASSISTANT"],
        style: Two,
        sep: " ",
        sep2: Some("</s>"),
    },
    BuiltIn {
        name: "vicuna_v1",
        system: USER,
        roles: ["USER", "ASSISTANT"],
        style: Two,
        sep: " ",
        sep2: Some("</s>"),
    },
    BuiltIn {
        name: "llama_2",
        system: LLAMA_2,
        roles: ["USER", "ASSISTANT"],
        style: Llama2,
        sep: "<s>",
        sep2: Some("</s>"),
    },
    BuiltIn { name: "plain", system: "", roles: ["", ""], style: Plain, sep: "\n", sep2: None },
    BuiltIn { name: "v0_plain", system: "", roles: ["", ""], style: Plain, sep: "\n", sep2: None },
    BuiltIn {
        name: "llava_v0",
        system: HUMAN,
        roles: ["Human", "Assistant"],
        style: Single,
        sep: "###",
        sep2: None,
    },
    BuiltIn {
        name: "v0_mmtag",
        system: TAGGED,
        roles: ["Human", "Assistant"],
        style: Single,
        sep: "###",
        sep2: None,
    },
    BuiltIn {
        name: "llava_v1",
        system: HUMAN,
        roles: ["USER", "ASSISTANT"],
        style: Two,
        sep: " ",
        sep2: Some("</s>"),
    },
    BuiltIn {
        name: "v1_mmtag",
        system: TAGGED,
        roles: ["USER", "ASSISTANT"],
        style: Two,
        sep: " ",
        sep2: Some("</s>"),
    },
    BuiltIn {
        name: "llava_llama_2",
        system: VISION,
        roles: ["USER", "ASSISTANT"],
        style: Llama2,
        sep: "<s>",
        sep2: Some("</s>"),
    },
    BuiltIn {
        name: "mpt",
        system: MPT,
        roles: ["<|im_start|>user\n", "<|im_start|>assistant\n"],
        style: Mpt,
        sep: "<|im_end|>",
        sep2: None,
    },
];
