//! Which rows are rounded behind which link, and how many moments exist at a time.

use std::collections::HashMap;

use serde::Serialize;

use super::super::moment::Site;
use super::super::schedule::{BESIDE, share_of_moments};
use super::super::{Error, Figures};
use super::Method;
use super::evidence::Evidence;
use super::report::{ScaleReport, ScaledInput};
use crate::folding::{Folding, Link, Unlinked, Why};
use crate::model::Model;
use crate::pipeline::{Form, Goal};
use crate::plan::Holders;

/// What scales are chosen for.
pub struct ScalePlan<'a> {
    method: Method,
    folding: &'a Folding,
    goals: Vec<Goal<'a>>,
    /// Of every link the goals and the matrices in them that it leads to.
    users: Vec<Vec<(usize, usize)>>,
    /// Tensors of goals that no link leads to.
    unscaled: Vec<Unlinked>,
    moments: u64,
    max_memory: u64,
}

/// What choosing takes, for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ScaleNeeds {
    /// Inputs that are scaled.
    pub inputs: usize,
    /// Bytes of the moments that exist at a time.
    pub moments: u64,
    /// How often the layer with the most moments is run.
    pub passes: usize,
    /// Bytes of all scales.
    pub scales: u64,
    /// Least `--max-memory`.
    pub least_memory: u64,
}

impl<'a> ScalePlan<'a> {
    /// Divides the goals of a run over the links of a model.
    ///
    /// # Errors
    /// If the memory does not suffice for one of the moments.
    pub fn new(
        method: Method,
        goals: Vec<Goal<'a>>,
        model: &Model,
        folding: &'a Folding,
        max_memory: u64,
    ) -> Result<Self, Error> {
        let mut links: HashMap<&str, Vec<(Option<usize>, usize)>> = HashMap::new();
        for (number, link) in folding.links().iter().enumerate() {
            for user in &link.users {
                links.entry(&user.tensor).or_default().push((user.matrix, number));
            }
        }
        let holders = Holders::new(model);
        let mut users = vec![Vec::new(); folding.links().len()];
        let mut unscaled: Vec<Unlinked> = Vec::new();
        for (number, goal) in goals.iter().enumerate() {
            let held = holders.of(goal.tensor).filter(|holder| holder.columns == goal.columns as u64);
            let (name, first) = match (goal.form, held) {
                (Form::Coded(..), Some(holder)) => (holder.name, holder.matrix),
                _ => (goal.tensor.name.as_str(), 0),
            };
            let of_tensor = links.get(name).map_or(&[][..], Vec::as_slice);
            let mut found = false;
            for matrix in 0..goal.matrices() {
                let own = of_tensor.iter().filter(|(only, _)| only.is_none_or(|only| only == first + matrix));
                for (_, link) in own {
                    users[*link].push((number, matrix));
                    found = true;
                }
            }
            if !found && !unscaled.iter().any(|known| known.tensor == goal.tensor.name) {
                let reason = folding.unlinked().iter().find(|unlinked| unlinked.tensor == name);
                let because = reason.map_or(Why::Outside, |unlinked| unlinked.because);
                unscaled.push(Unlinked { tensor: goal.tensor.name.clone(), because });
            }
        }
        let mut plan = Self { method, folding, goals, users, unscaled, moments: 0, max_memory };
        for link in folding.links().iter().zip(&plan.users).filter(|(_, users)| !users.is_empty()).map(|(link, _)| link)
        {
            let needed = plan.evidence(link).saturating_add(BESIDE).saturating_add(folding.bytes());
            if needed > max_memory {
                let (tensor, columns) = (link.measured.tensor.clone(), link.width());
                return Err(Error::Memory { tensor, columns, needed, limit: max_memory });
            }
        }
        plan.moments = plan.all_passes().map(|pass| plan.bytes(&pass)).max().unwrap_or(0);
        Ok(plan)
    }

    /// The links.
    pub fn folding(&self) -> &'a Folding {
        self.folding
    }

    /// How scales are chosen.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Bytes of what is measured of a link.
    fn evidence(&self, link: &Link) -> u64 {
        Evidence::bytes(self.method, link.width())
    }

    pub(super) fn goals(&self) -> &[Goal<'a>] {
        &self.goals
    }

    /// What is rounded behind a link: goals, and the matrix in each.
    pub(super) fn users(&self, link: usize) -> &[(usize, usize)] {
        &self.users[link]
    }

    pub(super) fn link(&self, link: usize) -> &'a Link {
        &self.folding.links()[link]
    }

    /// Where the input of a link is measured.
    pub(super) fn site(&self, link: usize) -> Site {
        let measured = &self.link(link).measured;
        Site { tensor: measured.tensor.clone(), matrix: measured.matrix.unwrap_or(0) }
    }

    /// Memory for the forward pass beside the moments.
    pub fn forward_memory(&self) -> u64 {
        self.max_memory.saturating_sub(self.moments).saturating_sub(self.folding.bytes())
    }

    /// The links of the runs of a layer, those that are `wanted`.
    pub(super) fn passes(&self, layer: usize, wanted: &dyn Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let limit = share_of_moments(self.max_memory.saturating_sub(self.folding.bytes()));
        let mut passes: Vec<Vec<usize>> = Vec::new();
        let links = self.folding.links().iter().enumerate();
        let links = links.filter(|(number, link)| link.layer == layer && !self.users[*number].is_empty());
        for (number, link) in links.filter(|(number, _)| wanted(*number)) {
            let bytes = self.evidence(link);
            match passes.last_mut().filter(|pass| self.bytes(pass).saturating_add(bytes) <= limit) {
                Some(pass) => pass.push(number),
                None => passes.push(vec![number]),
            }
        }
        passes
    }

    fn all_passes(&self) -> impl Iterator<Item = Vec<usize>> {
        let layers = self.folding.links().last().map_or(0, |link| link.layer + 1);
        (0..layers).flat_map(|layer| self.passes(layer, &|_| true))
    }

    /// Bytes of the moments of a pass.
    fn bytes(&self, pass: &[usize]) -> u64 {
        pass.iter().map(|link| self.evidence(self.link(*link))).sum()
    }

    /// What all of it takes.
    pub fn needs(&self) -> ScaleNeeds {
        let links = || self.folding.links().iter().zip(&self.users).filter(|(_, users)| !users.is_empty());
        let largest = links().map(|(link, _)| self.evidence(link)).max().unwrap_or(0);
        let layers = self.folding.links().last().map_or(0, |link| link.layer + 1);
        ScaleNeeds {
            inputs: links().count(),
            moments: self.moments,
            passes: (0..layers).map(|layer| self.passes(layer, &|_| true).len()).max().unwrap_or(0),
            scales: self.folding.bytes(),
            least_memory: largest + BESIDE + self.folding.bytes(),
        }
    }

    /// What was done.
    pub(super) fn report(&self, done: &[Option<Figures>], tokens: usize, resumed: usize) -> ScaleReport {
        let links = self.folding.links().iter().zip(done);
        let scaled = links.filter_map(|(link, figures)| {
            let figures = (*figures)?;
            let into = link.users.iter().map(|user| match user.matrix {
                Some(matrix) => format!("{} [{matrix}]", user.tensor),
                None => user.tensor.clone(),
            });
            Some(ScaledInput { from: link.from(), into: into.collect(), figures })
        });
        ScaleReport { tokens, resumed, scaled: scaled.collect(), unscaled: self.unscaled.clone() }
    }
}
