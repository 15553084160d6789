//! Models of several modalities, of which the text part is converted: other names, and what is left out.
//!
//! They are told by settings under `text_config`.

use super::rule::Rule;

/// Names of the text part, as published before and since transformers 4.52, and what they are without the rest.
pub fn renames() -> Vec<(String, String)> {
    const RENAMES: [(&str, &str); 2] = [("language_model.", ""), ("model.language_model.", "model.")];
    RENAMES.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec()
}

/// Rules that leave out all other parts.
pub fn left_out() -> [Rule; 8] {
    const NOTE: &str = "the part for images, which llama.cpp keeps in a file of its own (mmproj)";
    const PREFIXES: [&str; 8] = [
        "vision_tower.",
        "vision_model.",
        "visual.",
        "multi_modal_projector.",
        "model.vision_tower.",
        "model.vision_model.",
        "model.visual.",
        "model.multi_modal_projector.",
    ];
    PREFIXES.map(|prefix| Rule::ignore(prefix, NOTE))
}
