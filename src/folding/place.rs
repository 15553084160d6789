//! Which channel every row and column of stored weights is, as far as links concern them.
//!
//! Tensors of a model are views of stored weights: reordered, cut out, stacked, transposed. Scales belong to rows and columns of
//! what is stored, so that whatever is made of it has them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::link::{Columns, Link, Origin};
use super::strip::{Strip, elements, size, strips};
use crate::model::{Map, Model, ModelTensor};
use crate::weights::Weights;

/// A channel of a link, counted over all from 1 on; negative if it is divided by the scale, 0 where there is none.
pub(super) type Id = i64;

/// The places that links concern.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Rows of a weight, over all matrices.
    pub rows: BTreeMap<usize, Axis>,
    /// Columns of a matrix of a weight.
    pub columns: BTreeMap<(usize, usize), Axis>,
    /// Vectors.
    pub vectors: BTreeMap<usize, Vector>,
    /// The first id of every link.
    first: Vec<Id>,
}

/// The channels along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Axis {
    /// All channels of a link in their order.
    Whole { link: usize, divides: bool },
    /// Each has its own.
    Each(Vec<Id>),
}

/// The channels of a vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Vector {
    /// The weights of a norm, and how they are made of what is stored; for every value link and channel.
    Norm { map: Map, channels: Vec<(usize, usize)> },
    /// A bias.
    Bias { ids: Vec<Id> },
}

/// What a link wants of a tensor.
#[derive(Clone, Copy)]
enum Wish {
    /// Columns of a matrix, or of all.
    Columns { link: usize, matrix: Option<usize> },
    /// Rows from this one on.
    Rows { link: usize, first: usize },
}

impl Places {
    /// The places of these links, and the numbers of those that cannot be made: where a stored weight belongs to something else
    /// too, or is cut such that columns are none.
    pub fn of(links: &[Link], model: &Model, weights: &Weights) -> (Self, BTreeSet<usize>) {
        let mut places = Self::default();
        let mut next = 1;
        for link in links {
            places.first.push(next);
            next += link.channels as Id;
        }
        let mut wishes: HashMap<String, Vec<Wish>> = HashMap::new();
        for (number, link) in links.iter().enumerate() {
            for user in &link.users {
                let wish = Wish::Columns { link: number, matrix: user.matrix };
                wishes.entry(user.tensor.clone()).or_default().push(wish);
            }
            if let Origin::Rows { name, first } = &link.origin {
                wishes.entry(format!("{name}.weight")).or_default().push(Wish::Rows { link: number, first: *first });
            }
        }
        let wishes_of = |tensor: &ModelTensor| wishes.get(&tensor.name).map_or(&[][..], Vec::as_slice);

        let mut refused = BTreeSet::new();
        for tensor in &model.tensors {
            let wishes = wishes_of(tensor);
            if wishes.is_empty() {
                continue;
            }
            let strips = strips(tensor, weights);
            for wish in wishes {
                let made = strips.as_ref().is_some_and(|strips| places.set(*wish, tensor, strips, links, weights));
                if !made {
                    refused.insert(wish.link());
                }
            }
        }
        for (number, link) in links.iter().enumerate() {
            if !places.set_vectors(number, link, model, weights) {
                refused.insert(number);
            }
        }
        if refused.is_empty() {
            places.check(links, model, weights, &wishes_of, &mut refused);
        }
        (places, refused)
    }

    /// All weights that are concerned.
    pub fn weights(&self) -> impl Iterator<Item = usize> {
        let all = self.rows.keys().chain(self.columns.keys().map(|(weight, _)| weight)).chain(self.vectors.keys());
        all.copied().collect::<BTreeSet<_>>().into_iter()
    }

    /// What a value of this channel is multiplied with.
    pub fn factor(&self, id: Id, scales: &[Vec<f32>]) -> f32 {
        if id == 0 {
            return 1.0;
        }
        let link = self.first.partition_point(|first| *first <= id.abs()) - 1;
        let scale = scales[link][(id.abs() - self.first[link]) as usize];
        if id < 0 { 1.0 / scale } else { scale }
    }

    /// Makes one wish. False if it cannot be.
    fn set(&mut self, wish: Wish, tensor: &ModelTensor, strips: &[Strip], links: &[Link], weights: &Weights) -> bool {
        let (rows, columns) = size(tensor);
        let link = &links[wish.link()];
        let id = self.first[wish.link()];
        match wish {
            Wish::Columns { link: number, matrix } => {
                let wanted = matrix.map_or(0..usize::MAX, |matrix| matrix * rows..(matrix + 1) * rows);
                let whole = (link.columns == Columns::Same).then_some(Axis::Whole { link: number, divides: false });
                link.width() == columns
                    && strips.iter().filter(|strip| wanted.contains(&strip.first)).all(|strip| {
                        let mut places =
                            (0..columns).map(|column| (strip.from + column, id + link.channel(column) as Id));
                        self.assign(strip, strip.transposed, whole.clone(), &mut places, weights)
                    })
            }
            Wish::Rows { link: number, first } => {
                let wanted = first..first + link.channels;
                let mut found = 0;
                let all = strips.iter().filter(|strip| strip.overlaps(&wanted)).all(|strip| {
                    let own = (strip.first..).zip(&strip.rows).filter(|(row, _)| wanted.contains(row));
                    let places: Vec<(usize, Id)> = own.map(|(row, at)| (*at, -(id + (row - first) as Id))).collect();
                    found += places.len();
                    let in_order = places.iter().enumerate().all(|(number, (at, _))| number == *at);
                    let whole = (in_order && places.len() == link.channels)
                        .then_some(Axis::Whole { link: number, divides: true });
                    self.assign(strip, !strip.transposed, whole, &mut places.into_iter(), weights)
                });
                all && found == link.channels
            }
        }
    }

    /// Gives places along an axis their ids. False if some have others already.
    fn assign(
        &mut self,
        strip: &Strip,
        along_rows: bool,
        whole: Option<Axis>,
        places: &mut dyn Iterator<Item = (usize, Id)>,
        weights: &Weights,
    ) -> bool {
        let weight = &weights.list()[strip.weight];
        let Self { rows, columns, first, .. } = self;
        let new = || Axis::Each(Vec::new());
        let (axis, length) = match along_rows {
            true => {
                (rows.entry(strip.weight).or_insert_with(new), weight.elements() as usize / weight.columns().max(1))
            }
            false => (columns.entry((strip.weight, strip.matrix)).or_insert_with(new), weight.columns()),
        };
        axis.put(whole, places, length, first)
    }

    /// The norm of a link, or the bias of its rows. False if they are stored in a way that is not known.
    fn set_vectors(&mut self, number: usize, link: &Link, model: &Model, weights: &Weights) -> bool {
        let find = |name: String| model.tensors.iter().find(|tensor| tensor.name == name);
        let (norm, bias, skipped) = match &link.origin {
            Origin::Norm(name) => (Some(format!("{name}.weight")), format!("{name}.bias"), 0),
            Origin::Rows { name, first } => (None, format!("{name}.bias"), *first),
        };
        let first = self.first[number];
        if let Some(norm) = norm {
            let Some(places) = find(norm).and_then(|tensor| elements(tensor, weights)) else { return false };
            let (weight, map) = (places.weight, places.map);
            let fits = places.at.iter().copied().eq(0..link.channels)
                && weights.list()[weight].elements() == link.channels as u64
                && matches!(map, Map::Same | Map::PlusOne | Map::MinusOne);
            let channels = (0..link.channels).map(|channel| (number, channel)).collect();
            if !fits || self.vectors.insert(weight, Vector::Norm { map, channels }).is_some() {
                return false;
            }
        }
        let Some(bias) = find(bias) else { return true };
        let Some(places) = elements(bias, weights).filter(|places| places.map == Map::Same) else { return false };
        let length = weights.list()[places.weight].elements() as usize;
        let vector = self.vectors.entry(places.weight).or_insert_with(|| Vector::Bias { ids: vec![0; length] });
        let Vector::Bias { ids } = vector else { return false };
        let own = places.at.iter().skip(skipped).take(link.channels);
        own.enumerate().all(|(channel, at)| {
            let free = ids[*at] == 0;
            ids[*at] = -(first + channel as Id);
            free
        })
    }

    /// Finds links whose places belong to something else, too.
    fn check<'w>(
        &self,
        links: &[Link],
        model: &Model,
        weights: &Weights,
        wishes_of: &dyn Fn(&ModelTensor) -> &'w [Wish],
        refused: &mut BTreeSet<usize>,
    ) {
        let concerned: BTreeSet<usize> = self.weights().collect();
        let known: BTreeSet<String> = links
            .iter()
            .flat_map(|link| match &link.origin {
                Origin::Norm(name) => vec![format!("{name}.weight"), format!("{name}.bias")],
                Origin::Rows { name, .. } => vec![format!("{name}.bias")],
            })
            .collect();
        let mut blame = |id: Id| {
            if id != 0 {
                refused.insert(self.first.partition_point(|first| *first <= id.abs()) - 1);
            }
        };
        for tensor in &model.tensors {
            let mut touched = tensor.data.pieces().iter().map(|piece| piece.weight).filter(|at| concerned.contains(at));
            let Some(weight) = touched.next() else { continue };
            let wishes = wishes_of(tensor);
            if let Some(vector) = self.vectors.get(&weight) {
                if !known.contains(&tensor.name) {
                    match vector {
                        Vector::Norm { channels, .. } => {
                            channels.iter().for_each(|(link, _)| blame(self.first[*link]));
                        }
                        Vector::Bias { ids } => ids.iter().for_each(|id| blame(*id)),
                    }
                }
                continue;
            }
            let Some(strips) = strips(tensor, weights) else {
                // a tensor that is made in another way, of a weight that is scaled
                let all = tensor.data.pieces().iter().flat_map(|piece| self.ids(piece.weight));
                all.collect::<Vec<_>>().into_iter().for_each(&mut blame);
                continue;
            };
            let (rows, columns) = size(tensor);
            for strip in &strips {
                let matrix = strip.first / rows.max(1);
                let wish = wishes.iter().find(
                    |wish| matches!(wish, Wish::Columns { matrix: own, .. } if own.is_none_or(|own| own == matrix)),
                );
                for column in 0..columns {
                    let found = self.at(strip, strip.transposed, strip.from + column);
                    let expected =
                        wish.map_or(0, |wish| self.first[wish.link()] + links[wish.link()].channel(column) as Id);
                    if found != expected {
                        [found, expected].into_iter().for_each(&mut blame);
                    }
                }
                let of_rows = wishes.iter().filter_map(|wish| match wish {
                    Wish::Rows { link, first } => Some((*link, *first..first + links[*link].channels)),
                    Wish::Columns { .. } => None,
                });
                let of_rows: Vec<_> = of_rows.filter(|(_, wanted)| strip.overlaps(wanted)).collect();
                for (row, at) in (strip.first..).zip(&strip.rows) {
                    let found = self.at(strip, !strip.transposed, *at);
                    let expected = of_rows.iter().find(|(_, wanted)| wanted.contains(&row));
                    let expected =
                        expected.map_or(0, |(link, wanted)| -(self.first[*link] + (row - wanted.start) as Id));
                    if found != expected {
                        [found, expected].into_iter().for_each(&mut blame);
                    }
                }
            }
        }
    }

    /// All ids of a weight.
    fn ids(&self, weight: usize) -> Vec<Id> {
        let columns = self.columns.range((weight, 0)..(weight + 1, 0)).map(|(_, axis)| axis);
        let axes = self.rows.get(&weight).into_iter().chain(columns);
        axes.flat_map(|axis| match axis {
            Axis::Whole { link, .. } => vec![self.first[*link]],
            Axis::Each(ids) => ids.clone(),
        })
        .collect()
    }

    /// The id of a place.
    fn at(&self, strip: &Strip, along_rows: bool, at: usize) -> Id {
        let axis = match along_rows {
            true => self.rows.get(&strip.weight),
            false => self.columns.get(&(strip.weight, strip.matrix)),
        };
        axis.map_or(0, |axis| axis.id(at, &self.first))
    }
}

impl Wish {
    fn link(&self) -> usize {
        match self {
            Wish::Columns { link, .. } | Wish::Rows { link, .. } => *link,
        }
    }
}

impl Axis {
    fn id(&self, at: usize, first: &[Id]) -> Id {
        match self {
            Axis::Whole { link, divides } => (first[*link] + at as Id) * if *divides { -1 } else { 1 },
            Axis::Each(ids) => ids.get(at).copied().unwrap_or(0),
        }
    }

    /// Gives places of an axis of this length their ids; false if some have others already. If they are all there are they
    /// become `whole`.
    fn put(
        &mut self,
        whole: Option<Axis>,
        places: &mut dyn Iterator<Item = (usize, Id)>,
        length: usize,
        first: &[Id],
    ) -> bool {
        let Axis::Each(ids) = self else {
            let mut others = places.filter(|(at, id)| self.id(*at, first) != *id);
            return others.next().is_none();
        };
        let is_new = ids.is_empty();
        ids.resize(length, 0);
        let (mut count, mut all) = (0, true);
        for (at, id) in places {
            count += 1;
            match ids.get_mut(at) {
                Some(own) if *own == 0 || *own == id => *own = id,
                _ => all = false,
            }
        }
        if let Some(whole) = whole.filter(|_| all && is_new && count == length) {
            *self = whole;
        }
        all
    }
}
