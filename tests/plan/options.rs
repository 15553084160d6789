//! Options and type names as text.

use weightmill::options::{
    ImportanceFilter, OptionError, Override, TensorType, parse_dtype, parse_layers, parse_size, parse_tensor_type_file,
};
use weightmill::recipe::{RECIPES, Recipe, RecipeError};
use weightmill_formats::Value;
use weightmill_kernels::Dtype;

fn found(name: &str) -> &'static str {
    Recipe::find(name).unwrap_or_else(|error| panic!("{error}")).name
}

#[test]
fn recipes_are_found_by_every_spelling() {
    for (text, name) in [
        ("Q4_K_M", "Q4_K_M"),
        ("q4_k_m", "Q4_K_M"),
        ("q4km", "Q4_K_M"),
        ("Q4_K", "Q4_K_M"),
        ("q4k", "Q4_K_M"),
        ("q3k", "Q3_K_M"),
        ("Q5_K", "Q5_K_M"),
        ("q8", "Q8_0"),
        ("q8_0", "Q8_0"),
        ("Q2_K", "Q2_K"),
        ("q2ks", "Q2_K_S"),
        ("bf16", "BF16"),
        ("copy", "COPY"),
        ("15", "Q4_K_M"),
        ("0", "F32"),
        ("32", "BF16"),
    ] {
        assert_eq!(found(text), name, "{text}");
    }
}

#[test]
fn flags_are_unique_and_lead_to_their_recipe() {
    let mut all = std::collections::HashSet::new();
    for recipe in RECIPES {
        for flag in recipe.flags() {
            assert_eq!(found(&flag), recipe.name);
            assert!(all.insert(flag.clone()), "{flag} twice");
        }
    }
    for flag in ["q4k", "q4_k", "q4_k_m", "q4km", "q8", "q8_0", "q80", "q2k", "q6k", "f16", "bf16", "q4_0", "q3k"] {
        assert!(all.contains(flag), "{flag}");
    }
}

#[test]
fn unknown_types_are_answered_with_the_nearest() {
    let Err(RecipeError::Unknown { known, .. }) = Recipe::find("Q4_KX") else { panic!("Q4_KX is no type") };
    assert!(known.starts_with("Q4_K_M, Q4_K_S, "), "nearest first: {known}");
}

#[test]
fn tensor_types_are_patterns_in_lower_case() {
    let option: TensorType = "BLK\\.[0-3].FFN_down=Q6_k".parse().expect("an option");
    assert_eq!((option.pattern.as_str(), option.dtype), ("blk\\.[0-3].ffn_down", Dtype::Q6_K));
    let wrong = |text: &str| text.parse::<TensorType>().expect_err("wrong");
    assert!(matches!(wrong("attn_v"), OptionError::NoEquals { .. }));
    assert!(matches!(wrong("=q8_0"), OptionError::NoName { .. }));
    assert!(matches!(wrong("attn_v="), OptionError::UnknownType { .. }));
    assert!(matches!(wrong("attn_(v=q8_0"), OptionError::Pattern { .. }));
    let listed = parse_tensor_type_file("attn_v=q8_0\n\tffn_down=q6_k  output=f16\n").expect("a file");
    assert_eq!(listed.iter().map(|option| option.dtype).collect::<Vec<_>>(), [Dtype::Q8_0, Dtype::Q6_K, Dtype::F16]);
}

#[test]
fn tensor_types_have_ggml_names() {
    assert_eq!(parse_dtype("q4_K"), Ok(Dtype::Q4_K));
    assert_eq!(parse_dtype("bf16"), Ok(Dtype::BF16));
    let Err(OptionError::UnknownType { known, .. }) = parse_dtype("q4k") else { panic!("no ggml type is called q4k") };
    assert!(known.starts_with("Q4_K"), "nearest first: {known}");
    assert!(parse_dtype("F8_E4M3").is_err(), "safetensors only");
}

#[test]
fn overrides_have_a_type() {
    let value = |text: &str| text.parse::<Override>().map(|replacement| replacement.value);
    assert_eq!(value("a=int:7"), Ok(Value::U32(7)));
    assert_eq!(value("a=float:-0.5"), Ok(Value::F32(-0.5)));
    assert_eq!(value("a=bool:true"), Ok(Value::Bool(true)));
    assert_eq!(value("a=str:x=y:z"), Ok(Value::String("x=y:z".to_owned())));
    assert_eq!(value("a=str:"), Ok(Value::String(String::new())));
    for (text, part) in [
        ("a=int:-1", "between 0 and 4294967295"),
        ("a=int:4294967296", "between 0 and 4294967295"),
        ("a=int:", "between 0 and 4294967295"),
        ("a=float:x", "not a number"),
        ("a=bool:1", "true or false"),
        ("split.count=int:3", "--shard-size"),
        ("general.architecture=int:3", "is a str"),
        ("a=7", "must be one of"),
        ("a=u8:7", "must be one of"),
        ("a", "KEY=TYPE:VALUE"),
        ("=int:7", "KEY=TYPE:VALUE"),
    ] {
        let error = value(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(value(&format!("a=str:{}", "x".repeat(127))).is_ok());
    assert!(value(&format!("a=str:{}", "x".repeat(128))).is_err());
    assert!(value(&format!("{}=int:1", "k".repeat(128))).is_err());
}

#[test]
fn sizes_have_units() {
    for (text, bytes) in [
        ("0", 0),
        ("123", 123),
        ("5B", 5),
        ("2K", 2_000),
        ("2kb", 2_000),
        ("2KiB", 2_048),
        ("1.5GiB", 3 << 29),
        ("4 GB", 4_000_000_000),
        ("1T", 1_000_000_000_000),
        ("1TiB", 1 << 40),
        (".5M", 500_000),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in ["", "x", "1.5", "-1", "1X", "1Gi", "1 2", "99999999TiB", "1.2.3K", "1e3"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}

#[test]
fn layers_are_a_list() {
    assert_eq!(parse_layers("3,1, 2,1").map(Vec::from_iter), Ok(vec![1, 2, 3]));
    for text in ["", "1,", "a", "-1"] {
        assert!(parse_layers(text).is_err(), "{text}");
    }
}

#[test]
fn filters_look_at_parts_of_names() {
    let filter = |include: &[&str], exclude: &[&str]| ImportanceFilter {
        include: include.iter().map(|&part| part.to_owned()).collect(),
        exclude: exclude.iter().map(|&part| part.to_owned()).collect(),
    };
    assert!(filter(&[], &[]).keeps("blk.0.attn_q.weight"));
    assert!(filter(&["attn_q"], &[]).keeps("blk.0.attn_q.weight"));
    assert!(!filter(&["attn_v"], &[]).keeps("blk.0.attn_q.weight"));
    assert!(!filter(&[], &["blk.0"]).keeps("blk.0.attn_q.weight"));
}
