"""Gemma, Gemma 2, Gemma 3 alone and as the text part of a model that sees images."""
from families import REMOVED, attention, base, case, ends, mlp, norms, sentencepiece

FILES, TOKENS = sentencepiece(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"), 3, add_bos_token=True, add_eos_token=False, bos_token="<bos>", eos_token="<eos>",
                              pad_token="<pad>", tokenizer_class="GemmaTokenizer")
AROUND = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")


def tensors(c, names=AROUND, norm=True, prefix="model.", head=False):
    out = ends(c, prefix=prefix, head=head)
    for i in range(c["num_hidden_layers"]):
        out += norms(c, i, prefix, names) + attention(c, i, prefix, norm=norm) + mlp(f"{prefix}layers.{i}.mlp.", c["hidden_size"], c["intermediate_size"])
    return out


def gemma(architecture, kind, **settings):
    return base(architecture, kind, **{"vocab_size": TOKENS, "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", "hidden_act": REMOVED, "rms_norm_eps": 1e-6,
                                       "tie_word_embeddings": REMOVED, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, **settings})


GEMMA = gemma("GemmaForCausalLM", "gemma", num_key_value_heads=4, max_position_embeddings=8192)
GEMMA_2 = gemma("Gemma2ForCausalLM", "gemma2", attn_logit_softcapping=48.0, final_logit_softcapping=29.0, sliding_window=4000, query_pre_attn_scalar=224)
GEMMA_2_DEFAULTS = gemma("Gemma2ForCausalLM", "gemma2", num_key_value_heads=REMOVED, max_position_embeddings=REMOVED, rms_norm_eps=REMOVED, rope_theta=REMOVED)
GEMMA_3 = gemma("Gemma3ForCausalLM", "gemma3_text", sliding_window=512, sliding_window_pattern=6, rope_theta=1000000, rope_local_base_freq=9999, rope_scaling=None,
                attn_logit_softcapping=None, final_logit_softcapping=None, eos_token_id=[1, 4])
GEMMA_3_NEW = gemma("Gemma3ForCausalLM", "gemma3_text", sliding_window=512, layer_types=["sliding_attention", "full_attention"], rope_theta=REMOVED, torch_dtype=REMOVED,
                    dtype="bfloat16", final_logit_softcapping=30.0, rope_parameters={"full_attention": {"rope_theta": 1000000.0, "rope_type": "linear", "factor": 8.0},
                                                                                    "sliding_attention": {"rope_theta": 9999.0, "rope_type": "default"}})
# what the published file of the text part leaves out comes from transformers; only the vocabulary would be too large here
TEXT = {"hidden_size": 32, "intermediate_size": 48, "model_type": "gemma3_text", "num_hidden_layers": 2, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024, "vocab_size": TOKENS}
VISION = {"hidden_size": 8, "image_size": 28, "intermediate_size": 12, "model_type": "siglip_vision_model", "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 14}
BOTH = {"architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 3, "eoi_token_index": 4, "eos_token_id": [1, 4], "image_token_index": 5,
        "mm_tokens_per_image": 4, "model_type": "gemma3", "text_config": TEXT, "torch_dtype": "bfloat16", "vision_config": VISION}
SEEING = [("vision_tower.vision_model.embeddings.patch_embedding.weight", (8, 3, 14, 14)), ("vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias", (12,)),
          ("vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight", (8, 8)), ("multi_modal_projector.mm_input_projection_weight", (8, 32)),
          ("multi_modal_projector.mm_soft_emb_norm.weight", (8,))]
COMPLETE = {**TEXT, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
CASES = {"gemma": case(GEMMA, tensors(GEMMA, norms.__defaults__[1], norm=False), files=FILES),
         "gemma2": case(GEMMA_2, tensors(GEMMA_2, norm=False), files=FILES),
         # norms of type F16 are shifted in that type; a copy of the embeddings is left out
         "gemma2_f16": case(GEMMA_2_DEFAULTS, tensors({**GEMMA_2_DEFAULTS, "num_key_value_heads": 4}, norm=False, head=True), files=FILES, outtype="f16"),
         "gemma3": case(GEMMA_3, tensors(GEMMA_3), files=FILES),
         "gemma3_new": case(GEMMA_3_NEW, tensors(GEMMA_3_NEW), files=FILES),
         "gemma3_vision": case(BOTH, tensors(COMPLETE, prefix="language_model.model.") + SEEING, files=FILES),
         "gemma3_vision_new": case(BOTH, tensors(COMPLETE, prefix="model.language_model.") + [("model." + name, shape) for name, shape in SEEING], files=FILES)}
