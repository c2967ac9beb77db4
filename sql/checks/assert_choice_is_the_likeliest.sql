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
where
    case
        when choice = -1 then list_max(probabilities) = 0  -- an answer that could not be read
        else probabilities[list_position(codes, choice)] >= list_max(probabilities) - 1e-9 and list_max(probabilities) > 0
    end is not true
