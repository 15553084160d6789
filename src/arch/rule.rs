//! Rules: which tensors of a checkpoint become which of GGUF. An architecture is mainly a list of them.

use std::borrow::Cow;
use std::rc::Rc;

use crate::model::Map;
use crate::view::View;

/// How one tensor, or one per layer, or all experts of a layer together, go over to GGUF.
///
/// In names `{}` stands for the number of the layer and `{e}` for that of the expert. A rule takes one tensor or
/// several and makes one or several of them, when the last of those it takes was seen.
#[derive(Clone)]
pub struct Rule {
    pub(super) takes: Vec<Taken>,
    pub(super) makes: Vec<Part>,
    /// Every taken tensor is there once per expert, and the made ones are stacks of so many.
    pub(super) experts: Option<u32>,
    pub(super) required: bool,
    /// Other tensors, and whether one of them must be there or all be missing for this rule's to be required.
    pub(super) depends: Option<(&'static [&'static str], bool)>,
    pub(super) on: Rc<dyn Fn(u32) -> bool>,
    /// Stored codes keep a type of GGUF that holds them exactly, where there is one.
    pub(super) keeps_codes: bool,
    /// What to say of all tensors whose name begins like the taken one: they are left out.
    pub(super) ignored: Option<Cow<'static, str>>,
}

/// A tensor of a checkpoint that a rule takes.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub name: String,
    pub shape: Vec<u64>,
}

/// A tensor of GGUF that a rule makes.
#[derive(Clone, Debug)]
pub struct Part {
    pub(super) to: Cow<'static, str>,
    pub(super) shape: Vec<u64>,
    /// Which of the taken tensors, which of its elements, and what is done with each; one after the other.
    pub(super) pieces: Vec<(usize, View, Map)>,
}

impl Part {
    /// The tensor `to` with this shape, made of one view of the (first) taken tensor.
    pub fn new(to: impl Into<Cow<'static, str>>, shape: &[u64], view: View) -> Self {
        Self::of_views(to, shape, vec![view])
    }

    /// The same made of several views, one below the other.
    pub fn of_views(to: impl Into<Cow<'static, str>>, shape: &[u64], views: Vec<View>) -> Self {
        Self {
            to: to.into(),
            shape: shape.to_vec(),
            pieces: views.into_iter().map(|view| (0, view, Map::Same)).collect(),
        }
    }
}

// Until the first families use all of them.
#[allow(dead_code)]
impl Rule {
    /// The tensor `from` becomes `to`; both have this shape.
    pub fn new<T: Into<u64>, const N: usize>(from: &'static str, to: &'static str, shape: [T; N]) -> Self {
        let shape = shape.map(T::into).to_vec();
        let part = Part::new(to, &shape, View::whole(&shape));
        Self::of(vec![Taken { name: from.to_owned(), shape }], vec![part])
    }

    /// The tensor `from`, of this shape, becomes several, or one of another shape.
    pub fn split(from: &'static str, shape: &[u64], makes: Vec<Part>) -> Self {
        Self::of(vec![Taken { name: from.to_owned(), shape: shape.to_vec() }], makes)
    }

    /// Several tensors, one below the other, become one: names and their rows.
    pub fn concatenated(from: &[(&'static str, u32)], to: &'static str, columns: u32) -> Self {
        let columns = u64::from(columns);
        let takes: Vec<Taken> = from
            .iter()
            .map(|(name, rows)| Taken { name: (*name).to_owned(), shape: vec![u64::from(*rows), columns] })
            .collect();
        let pieces = takes.iter().enumerate().map(|(input, taken)| (input, View::whole(&taken.shape), Map::Same));
        let rows = from.iter().map(|(_, rows)| u64::from(*rows)).sum();
        let part = Part { to: to.into(), shape: vec![rows, columns], pieces: pieces.collect() };
        Self::of(takes, vec![part])
    }

    /// Of every layer the tensors of `count` experts are stacked: from, to, and the shape of one expert. The stacks are
    /// made together, in this order.
    pub fn experts<T: Into<u64> + Copy, const N: usize>(
        count: u32,
        stacks: &[(&'static str, &'static str, [T; N])],
    ) -> Self {
        let shapes: Vec<Vec<u64>> = stacks.iter().map(|(_, _, shape)| shape.map(T::into).to_vec()).collect();
        let takes = stacks
            .iter()
            .zip(&shapes)
            .map(|((from, _, _), shape)| Taken { name: (*from).to_owned(), shape: shape.clone() });
        let makes = stacks.iter().zip(&shapes).enumerate().map(|(input, ((_, to, _), shape))| Part {
            to: (*to).into(),
            shape: shape.clone(),
            pieces: vec![(input, View::whole(shape), Map::Same)],
        });
        Self { experts: Some(count), ..Self::of(takes.collect(), makes.collect()) }
    }

    /// All tensors whose name begins with `prefix` are left out; `note` says what they are.
    pub fn ignore(prefix: impl Into<String>, note: impl Into<Cow<'static, str>>) -> Self {
        let taken = Taken { name: prefix.into(), shape: Vec::new() };
        Self { ignored: Some(note.into()), required: false, ..Self::of(vec![taken], Vec::new()) }
    }

    pub(super) fn of(takes: Vec<Taken>, makes: Vec<Part>) -> Self {
        Self {
            takes,
            makes,
            experts: None,
            required: true,
            depends: None,
            on: Rc::new(|_| true),
            keeps_codes: false,
            ignored: None,
        }
    }

    /// Inside each of `heads` heads the two halves of the rows are interleaved: see [`View::interleaved_halves`].
    pub fn interleave_halves(mut self, heads: u32) -> Self {
        for part in &mut self.makes {
            for (_, view, _) in &mut part.pieces {
                *view = View::interleaved_halves(&part.shape, heads.into());
            }
        }
        self
    }

    /// Arithmetic on every value.
    pub fn map(mut self, map: Map) -> Self {
        self.makes.iter_mut().flat_map(|part| &mut part.pieces).for_each(|piece| piece.2 = map);
        self
    }

    /// The tensor may be absent, unless `required`.
    pub fn optional_unless(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// Where the weight is stored in codes that a type of GGUF holds exactly, it becomes of that type.
    pub fn keep_codes(self) -> Self {
        Self { keeps_codes: true, ..self }
    }

    /// Required only in layers that have one of these tensors.
    pub fn required_with(self, names: &'static [&'static str]) -> Self {
        Self { depends: Some((names, true)), ..self }
    }

    /// Required only in layers that have none of these tensors.
    pub fn required_without(self, names: &'static [&'static str]) -> Self {
        Self { depends: Some((names, false)), ..self }
    }

    /// The rule holds only for the layers for which `on` is true.
    pub fn on(self, on: impl Fn(u32) -> bool + 'static) -> Self {
        Self { on: Rc::new(on), ..self }
    }

    pub(super) fn is_per_layer(&self) -> bool {
        self.takes.iter().any(|taken| taken.name.contains("{}"))
    }

    /// Experts of one layer, or 1.
    pub(super) fn copies(&self) -> u32 {
        self.experts.unwrap_or(1)
    }
}
