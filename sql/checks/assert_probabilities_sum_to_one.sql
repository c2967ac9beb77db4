-- one row per prediction whose probabilities and mass outside the options do not make 1, or are not one probability for each option
select
    model,
    reader,
    variant,
    item,
    subgroup_id,
    list_sum(probabilities) + outside as total,
from predictions
where
    (
        list_count(probabilities) = len(codes)
        and list_min(probabilities) >= -1e-6
        and outside >= -1e-6
        and abs(list_sum(probabilities) + outside - 1) <= 1e-6
    ) is not true
