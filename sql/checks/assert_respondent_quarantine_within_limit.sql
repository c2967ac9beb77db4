-- one row per dimension whose unknown texts are more than $quarantine_limit of its respondents:
-- its column wants a vocabulary, or `levels` in the study
with respondents as (
    select
        dimension,
        "column",
        coalesce(sum(respondents) filter (where rule = 'unknown'), 0)::bigint as quarantined,
        sum(respondents)::bigint as respondents,
    from value_map
    where
        dimension is not null
        and (missing is null or missing = 'left_out')
    group by dimension, "column"
)

select
    dimension,
    "column",
    quarantined,
    respondents,
    quarantined / respondents as share,
from respondents
where quarantined / respondents > $quarantine_limit
order by dimension
