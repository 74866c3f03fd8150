"""Which dimensions of a parameter expert and tensor parallelism split, by what its name tells."""

from fastinit.model.roles import Named, Role

Dims = tuple[int | None, int | None]

# What expert parallelism splits along the experts, and tensor parallelism along the outputs or the inputs of a layer.
_EXPERTS = {Role.EXPERT_W1, Role.EXPERT_W2, Role.EXPERT_W3, Role.EXPERT_UP_GATE}
_BY_OUTPUTS = {
    Role.FINAL_OUTPUT,
    Role.ATTENTION_IN,
    Role.FEED_FORWARD_W1,
    Role.FEED_FORWARD_W3,
    Role.EXPERT_W1,
    Role.EXPERT_W3,
    Role.EXPERT_UP_GATE,
}
_BY_INPUTS = {Role.ATTENTION_OUT, Role.FEED_FORWARD_W2, Role.EXPERT_W2}


def split_dims(named: Named | None) -> Dims:
    """The dimensions of a parameter that expert and tensor parallelism split, by the layout that its name tells.

    >>> split_dims(Named("experts.down_proj", Role.EXPERT_W2, "e o i"))
    (0, 2)
    """
    if named is None:
        return None, None
    layout = named.inputs.split()
    experts = layout.index("e") if named.role in _EXPERTS and "e" in layout else None
    if named.role is Role.EMBEDDING:
        return experts, 0
    for roles, letter in ((_BY_OUTPUTS, "o"), (_BY_INPUTS, "i")):
        if named.role in roles and letter in layout:
            return experts, layout.index(letter)
    return experts, None
