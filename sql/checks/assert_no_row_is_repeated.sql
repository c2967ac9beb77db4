-- one row when more than $quarantine_limit of the file's rows equal an earlier row in every cell: respondents were copied, and would count twice
with fingerprints as (
    select hash(cells) as fingerprint
    from (select * exclude (respondent_id) from raw_responses) as cells
),

repeated as (
    select sum(copies - 1)::bigint as respondents
    from (select count(*) as copies from fingerprints group by fingerprint)
),

file as (
    select count(*) as respondents from raw_responses
)

select
    repeated.respondents as repeated_rows,
    file.respondents as file_rows,
from repeated
cross join file
where repeated.respondents > $quarantine_limit * file.respondents
