-- one row per item whose unknown texts are more than $quarantine_limit of its answers: the codebook lacks an alias, or the file is damaged
with answers as (
    select
        "column" as item,
        coalesce(sum(respondents) filter (where rule = 'unknown'), 0)::bigint as quarantined,
        sum(respondents)::bigint as answers,
    from value_map
    where
        dimension is null
        and (missing is null or missing = 'off_scale')
    group by "column"
)

select
    item,
    quarantined,
    answers,
    quarantined / answers as share,
from answers
where quarantined / answers > $quarantine_limit
order by item
