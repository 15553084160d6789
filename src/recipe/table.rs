//! The table of recipes: one row per type name of llama-quantize.

use weightmill_kernels::Dtype::*;

use super::Recipe;
use super::rule::{Role::*, Rule, When::*};

/// `role if condition, condition => type;`, where the role may be `Any`.
macro_rules! rules {
    (@role Any) => { None };
    (@role $role:ident) => { Some($role) };
    ($($role:ident $(if $($when:expr),+)? => $to:ident;)*) => {
        &[$(Rule { role: rules!(@role $role), when: &[$($($when),+)?], to: $to }),*]
    };
}

/// Rules of the types of one and two bits, which differ in these: type of embeddings, of value projections that few heads
/// share and of the first down projections, of attention's output.
macro_rules! low_bit {
    ($embeddings:ident, $sensitive:ident $(, $attention_output:ident)?) => {
        rules! {
            TokenEmbedding => $embeddings;
            AttentionV if GroupedBy4 => Q4_K;
            AttentionV if FourExperts => Q4_K;
            AttentionV => $sensitive;
            AttentionK if EightExperts => Q4_K;
            FfnDown if FirstOneIn(8) => $sensitive;
            AttentionOutput if EightExperts => Q5_K;
            $(AttentionOutput => $attention_output;)?
        }
    };
}

/// One row per `;`: name = file type, default type, type of the output, description, what it has besides, rules.
macro_rules! recipes {
    ($($name:literal = $file_type:literal, $default:ident, output $output:ident, $description:literal
       $(, $field:ident: $value:expr)* $(, { $($rules:tt)* })?;)*) => {
        &[$(Recipe {
            name: $name,
            file_type: $file_type,
            description: $description,
            default: $default,
            output: $output,
            $(rules: rules!($($rules)*),)?
            $($field: $value,)*
            ..PLAIN
        }),*]
    };
}

/// What a row does not say.
const PLAIN: Recipe = Recipe {
    name: "",
    aliases: &[],
    file_type: 0,
    description: "",
    default: F32,
    output: F32,
    rules: &[],
    rules_only: false,
    needs_importance: &[],
};

/// All recipes, from the largest files to the smallest. Bits per weight are those of a whole Llama 3.1 8B.
// Names and numbers: tools/quantize/quantize.cpp. Default types: llama_ftype_get_default_type. Rules:
// llama_tensor_get_type_impl, whose branches they follow in order.
pub static RECIPES: &[Recipe] = recipes! {
    "F32"  = 0, F32, output F32, "32-bit floats";
    "F16"  = 1, F16, output F16, "16-bit floats, IEEE half precision";
    "BF16" = 32, BF16, output BF16, "16-bit floats with the exponent of F32";
    "Q8_0" = 7, Q8_0, output Q8_0, "8.5 bits per weight, practically lossless", aliases: &["Q8"];
    "Q6_K" = 18, Q6_K, output Q6_K, "6.6 bits per weight, very small loss";
    "Q5_1" = 9, Q5_1, output Q6_K, "6.0 bits per weight, older format";
    "Q5_K_M" = 17, Q5_K, output Q6_K, "5.7 bits per weight, small loss", aliases: &["Q5_K"], {
        AttentionV if MoreBits => Q6_K;
        FfnDown if MoreBits => Q6_K;
    };
    "Q5_K_S" = 16, Q5_K, output Q6_K, "5.6 bits per weight, small loss";
    "Q5_0" = 8, Q5_0, output Q6_K, "5.6 bits per weight, older format", {
        FfnDown if Importance, FirstOneIn(8) => Q5_1;
    };
    "Q4_1" = 3, Q4_1, output Q6_K, "5.1 bits per weight, older format";
    "Q4_K_M" = 15, Q4_K, output Q6_K, "4.9 bits per weight, the usual choice", aliases: &["Q4_K"], {
        AttentionV if MoreBits => Q6_K;
        FfnDown if Falcon, FirstOneIn(16) => Q6_K;
        FfnDown if Falcon, MoreBits => Q5_K;
        FfnDown if NotFalcon, MoreBits => Q6_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
    };
    "Q4_K_S" = 14, Q4_K, output Q6_K, "4.7 bits per weight", {
        AttentionV if First(4) => Q5_K;
        FfnDown if NotFalcon, FirstOneIn(8) => Q5_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
    };
    "Q4_0" = 2, Q4_0, output Q6_K, "4.7 bits per weight, older format, fast on many devices", {
        FfnDown if Importance, FirstOneIn(8) => Q4_1;
    };
    "IQ4_NL" = 25, IQ4_NL, output Q6_K, "4.7 bits per weight, levels that are not evenly spaced", {
        AttentionV if GroupedBy4 => Q5_K;
        FfnDown if NoImportance, FirstOneIn(8) => Q5_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
    };
    "NVFP4" = 39, NVFP4, output Q6_K, "4.6 bits per weight, floats of 4 bits; not in llama-quantize";
    "MXFP4_MOE" = 38, MXFP4, output Q8_0, "experts in floats of 4 bits, everything else in Q8_0", rules_only: true, {
        FfnUp if Stacked => MXFP4;
        FfnGate if Stacked => MXFP4;
        FfnDown if Stacked => MXFP4;
        Any if Stacked, NotBailingMoe3 => MXFP4;
        Any => Q8_0;
    };
    "IQ4_XS" = 30, IQ4_XS, output Q6_K, "4.4 bits per weight, levels that are not evenly spaced", {
        AttentionV if GroupedBy4 => Q5_K;
        FfnDown if NoImportance, FirstOneIn(8) => Q5_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
    };
    "Q3_K_L" = 13, Q3_K, output Q6_K, "4.3 bits per weight, noticeable loss", {
        AttentionV => Q5_K;
        FfnDown if Falcon => Q4_K;
        FfnDown => Q5_K;
        AttentionOutput if Falcon => Q4_K;
        AttentionOutput if NotEightExperts => Q5_K;
    };
    "Q3_K_M" = 12, Q3_K, output Q6_K, "4.0 bits per weight, noticeable loss", aliases: &["Q3_K"], {
        AttentionV if First(2) => Q5_K;
        AttentionV => Q4_K;
        FfnDown if FirstOneIn(16) => Q5_K;
        FfnDown if NotFalcon => Q4_K;
        FfnDown if MoreBits => Q4_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
        AttentionOutput if NotFalcon => Q4_K;
    };
    "IQ3_M" = 27, IQ3_S, output Q6_K, "3.8 bits per weight, noticeable loss; wants an importance matrix", {
        AttentionV => Q4_K;
        FfnDown if FirstOneIn(8) => Q4_K;
        FfnDown if EightExperts, MoreBits => Q4_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
        AttentionOutput if NotFalcon => Q4_K;
    };
    "IQ3_S" = 26, IQ3_S, output Q6_K, "3.7 bits per weight, noticeable loss; wants an importance matrix", {
        AttentionV if GroupedBy4 => Q4_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
    };
    "Q3_K_S" = 11, Q3_K, output Q6_K, "3.6 bits per weight, large loss", {
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
    };
    "IQ3_XS" = 22, IQ3_S, output Q6_K, "3.5 bits per weight, large loss; needs an importance matrix", {
        AttentionV if GroupedBy4 => Q4_K;
        AttentionK => IQ3_XXS;
        AttentionQ => IQ3_XXS;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
        FfnGate if Middle => IQ3_XXS;
        FfnUp if Middle => IQ3_XXS;
    };
    "IQ3_XXS" = 23, IQ3_XXS, output Q5_K, "3.3 bits per weight, large loss; needs an importance matrix", {
        TokenEmbedding => IQ3_S;
        AttentionV if GroupedBy4 => Q4_K;
        AttentionV if NoImportance => IQ3_S;
        AttentionK => IQ2_S;
        AttentionQ => IQ2_S;
        FfnDown if NoImportance, FirstOneIn(8) => Q4_K;
        FfnDown if NoImportance => Q3_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
        AttentionOutput if NotFalcon => IQ3_S;
    };
    "Q2_K" = 10, Q2_K, output Q6_K, "3.2 bits per weight, large loss", {
        AttentionV if GroupedBy4 => Q4_K;
        AttentionV => Q3_K;
        FfnDown => Q3_K;
        AttentionOutput if NotFalcon, EightExperts => Q5_K;
        AttentionOutput if NotFalcon => Q3_K;
    };
    "Q2_K_S" = 21, Q2_K, output Q6_K, "3.0 bits per weight, large loss; needs an importance matrix", needs_importance: &[Q2_K], {
        AttentionV if GroupedBy4 => Q4_K;
        FfnDown if FirstOneIn(8) => Q4_K;
    };
    "IQ2_M" = 29, IQ2_S, output Q5_K, "2.9 bits per weight, large loss; needs an importance matrix",
        rules_only: true, rules: low_bit!(IQ3_S, IQ3_S, IQ3_S);
    "IQ2_S" = 28, IQ2_XS, output Q5_K, "2.7 bits per weight, large loss; needs an importance matrix",
        rules_only: true, rules: low_bit!(IQ3_S, IQ3_S, IQ3_S);
    "Q2_0" = 41, Q2_0, output Q6_K, "2.7 bits per weight, for models trained for it", {
        TokenEmbedding => Q4_K;
    };
    "IQ2_XS" = 20, IQ2_XS, output Q5_K, "2.6 bits per weight, large loss; needs an importance matrix",
        rules_only: true, rules: low_bit!(Q2_K, Q2_K);
    "TQ2_0" = 37, TQ2_0, output Q6_K, "2.5 bits per weight, for models trained with levels -1, 0 and 1", {
        TokenEmbedding => Q4_K;
    };
    "IQ2_XXS" = 19, IQ2_XXS, output Q5_K, "2.4 bits per weight, large loss; needs an importance matrix",
        rules_only: true, rules: low_bit!(Q2_K, Q2_K);
    "TQ1_0" = 36, TQ1_0, output Q6_K, "2.2 bits per weight, as TQ2_0 but smaller and slower", {
        TokenEmbedding => Q4_K;
    };
    "IQ1_M" = 31, IQ1_M, output Q5_K, "2.1 bits per weight, hardly usable; needs an importance matrix",
        rules_only: true, rules: low_bit!(Q2_K, Q2_K, IQ2_XXS);
    "IQ1_S" = 24, IQ1_S, output Q5_K, "2.0 bits per weight, hardly usable; needs an importance matrix",
        rules_only: true, rules: low_bit!(Q2_K, Q2_K, IQ2_XXS);
    "Q1_0" = 40, Q1_0, output Q6_K, "1.5 bits per weight, for models trained with signs";
    // After F32, whose number it shares: looking up number 0 finds F32.
    "COPY" = 0, F32, output F32, "every tensor as it is (GGUF input only)";
};
