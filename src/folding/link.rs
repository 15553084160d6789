//! Two operations between which scales can be moved.

/// Channels that one operation gives and others take: if the first divides each by a scale and the others multiply by it, the
/// model computes the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Number of the layer.
    pub layer: usize,
    /// What gives the channels.
    pub origin: Origin,
    /// How many there are.
    pub channels: usize,
    /// What takes them.
    pub users: Vec<User>,
    /// Which channel a column of these is.
    pub columns: Columns,
    /// The user whose input is measured.
    pub measured: User,
}

/// What gives channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A norm: the weight and the bias of this name.
    Norm(String),
    /// Rows of a linear layer of this name, from `first` on, and its bias.
    Rows {
        /// Name without `.weight`.
        name: String,
        /// The first of the rows, counted over all matrices.
        first: usize,
    },
}

/// A matrix that takes channels, or all of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User {
    /// Name of the tensor, as the model has it.
    pub tensor: String,
    /// Number of the matrix; all of them if there is none.
    pub matrix: Option<usize>,
}

/// Which channel the columns of users are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// The same number.
    Same,
    /// Of so many heads in a row each has the same channels.
    Repeated {
        /// Heads that share channels.
        heads: usize,
        /// Channels of a head.
        length: usize,
    },
}

impl Link {
    /// The channel of a column.
    pub fn channel(&self, column: usize) -> usize {
        match self.columns {
            Columns::Same => column,
            Columns::Repeated { heads, length } => column / (heads * length) * length + column % length,
        }
    }

    /// Columns of the users.
    pub fn width(&self) -> usize {
        match self.columns {
            Columns::Same => self.channels,
            Columns::Repeated { heads, .. } => self.channels * heads,
        }
    }

    /// A number for every channel, as one for every column.
    pub fn spread(&self, channels: &[f32]) -> Vec<f32> {
        (0..self.width()).map(|column| channels[self.channel(column)]).collect()
    }

    /// What gives the channels, for reports.
    pub fn from(&self) -> String {
        match &self.origin {
            Origin::Norm(name) => format!("{name}.weight"),
            Origin::Rows { name, .. } => format!("{name}.weight"),
        }
    }
}
