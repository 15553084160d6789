//! What codes mean.

use weightmill_kernels::{Dtype, Level, dequantize};

/// The value of a code, before it is scaled.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Coding {
    /// The code as a number.
    Unsigned,
    /// The byte as a signed number.
    Signed,
    /// A number of this type of one byte.
    Byte(Dtype),
    /// A float with a sign, 2 bits of exponent and 1 of mantissa.
    E2M1,
    /// A float with a sign, 2 bits of exponent and 3 of mantissa.
    E2M3,
    /// What this table says.
    Table(Box<[f32; 256]>),
}

/// A value for every byte.
type Values = [f32; 256];

static E2M1: Values = small_floats::<1>();
static E2M3: Values = small_floats::<3>();

impl Coding {
    /// Codes with a value each, up to 256 of them.
    pub fn table(values: &[f32]) -> Self {
        let mut table = Box::new([0.0; 256]);
        table[..values.len()].copy_from_slice(values);
        Coding::Table(table)
    }

    /// [`Coding::E2M1`] whose negative zero is a positive one.
    pub fn e2m1_without_negative_zero() -> Self {
        let mut values = E2M1;
        values[8] = 0.0;
        Coding::table(&values)
    }

    /// Writes the values of codes that are not integers.
    pub fn look_up(&self, level: Level, codes: &[u8], dst: &mut [f32]) {
        let table = match self {
            Coding::Unsigned | Coding::Signed => return,
            Coding::Byte(dtype) => return dequantize(level, *dtype, codes, dst),
            Coding::E2M1 => &E2M1,
            Coding::E2M3 => &E2M3,
            Coding::Table(table) => table,
        };
        for (value, code) in dst.iter_mut().zip(codes) {
            *value = table[usize::from(*code)];
        }
    }
}

/// The values of floats with a sign, 2 bits of exponent (bias 1) and `MANTISSA` bits of mantissa, all of them finite: OCP
/// Microscaling Formats specification 1.0, section 5.3.
const fn small_floats<const MANTISSA: u32>() -> Values {
    let mut values = [0.0; 256];
    let (units, mut code) = (1 << MANTISSA, 0);
    while code < 8 * units {
        let (exponent, mantissa) = (code / units % 4, code % units);
        let significand = if exponent == 0 { mantissa } else { units + mantissa };
        let power = if exponent == 3 {
            4
        } else if exponent == 2 {
            2
        } else {
            1
        };
        let magnitude = (significand * power) as f32 / units as f32;
        values[code] = if code < 4 * units { magnitude } else { -magnitude };
        code += 1;
    }
    values
}
