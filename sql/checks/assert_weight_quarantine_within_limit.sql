-- one row when more than $quarantine_limit of the respondents have no usable weight: the wrong column, or a damaged one
with counts as (
    select
        (select count(*) from stg_respondents) as weighted,
        (
            select coalesce(sum(respondents), 0)::bigint
            from quarantine
            where reason = 'not a positive number: the respondent is left out'
        ) as quarantined,
)

select
    quarantined,
    weighted + quarantined as respondents,
    quarantined / (weighted + quarantined) as share,
from counts
where quarantined / (weighted + quarantined) > $quarantine_limit
