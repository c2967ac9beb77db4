-- one row per prediction whose choice is not (one of) its likeliest options: accuracy would be counted on another answer
select
    model,
    reader,
    variant,
    item,
    subgroup_id,
    choice,
    codes,
    probabilities,
from predictions
where (probabilities[list_position(codes, choice)] >= list_max(probabilities) - 1e-9) is not true
