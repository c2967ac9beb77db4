-- one row when more than $quarantine_limit of the respondents equal another one in every cell that is used, which the interview's number
-- is not: they were copied, and would count twice
-- Files of few columns are passed over: there people who answer alike are no copies.
with cells as (
    select raw_responses.* exclude (respondent_id)
    from raw_responses
    semi join stg_respondents on raw_responses.respondent_id = stg_respondents.respondent_id
),

fingerprints as (
    select
        hash(cells) as fingerprint,
        count(*) as copies,
    from cells
    group by hash(cells)
),

width as (
    select count(*) as file_columns
    from duckdb_columns()
    where table_name = 'raw_responses'
),

repeated as (
    select
        sum(copies - 1)::bigint as repeated_respondents,
        sum(copies)::bigint as respondents,
    from fingerprints
)

select repeated.*
from repeated
cross join width
where
    repeated.repeated_respondents > $quarantine_limit * repeated.respondents
    and width.file_columns > 50
