-- one row when more than $quarantine_limit of the respondents have no usable weight: the wrong column, or a damaged one
with counts as (
    select
        (select count(*) from raw_responses) as respondents,
        (select count(*) from stg_respondents) as weighted,
)

select
    respondents - weighted as quarantined,
    respondents,
    (respondents - weighted) / respondents as share,
from counts
where (respondents - weighted) / respondents > $quarantine_limit
