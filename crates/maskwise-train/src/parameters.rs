use candle_core::Var;
use std::collections::BTreeMap;

/// What is trained: f32 master copies by their names in the state dict, in the order of the names.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    variables: BTreeMap<String, Var>,
}

impl Parameters {
    /// From variables by name.
    pub fn new(variables: BTreeMap<String, Var>) -> Self {
        Self { variables }
    }

    /// Names and variables, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// The variable `name`.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.variables.get(name)
    }

    /// How many numbers are trained.
    pub fn count(&self) -> usize {
        self.variables.values().map(|variable| variable.elem_count()).sum()
    }
}
