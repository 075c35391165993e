"""Names of the engines' inputs and outputs: the contract between the graphs and what runs them."""

TOKENS = ("input_ids", "attention_mask", "token_type_ids")  # int64 [batch, sequence] each
HIDDEN_STATES = "hidden_states"  # float [batch, sequence, hidden]
MASK = "extended_attention_mask"  # float [batch, 1, 1, sequence]: added to attention scores
NEXT_HIDDEN_STATES = "next_hidden_states"
LOGITS = "logits"  # float32 [batch, classes]
UNCERTAINTY = "uncertainty"  # float32 [batch]

# row.onnx: a single row from its ids to the exit that answers
ROW_INPUTS = ("input_ids", "token_type_ids", "speed")  # int64 [1, sequence] twice, float32 [1]
ROW_OUTPUTS = (LOGITS, "exit_layer", UNCERTAINTY)

# chain.onnx: all stages in one model; its outputs are a stage's, each under this prefix
CHAIN_PREFIX = "chain/"

# compaction.onnx: keeps the samples that have not exited
ROWS = "rows"  # int64 [kept]: their places in the batch
KEPT_HIDDEN_STATES = "kept_hidden_states"
KEPT_MASK = "kept_extended_attention_mask"


def stage_digits(stage: int, stages: int) -> dict[str, bool]:
    """Return the inputs of ``chain.onnx`` that choose a stage: the binary digits of its number, lowest first."""
    return {f"digit_{place}": bool(stage >> place & 1) for place in range((stages - 1).bit_length())}
