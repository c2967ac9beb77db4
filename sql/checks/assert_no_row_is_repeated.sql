-- one row when more than $quarantine_limit of the file's rows equal an earlier row in every cell: respondents were copied, and
-- would count twice
with cells as (
    select * exclude (respondent_id) from raw_responses
),

fingerprints as (
    select
        hash(cells) as fingerprint,
        count(*) as copies,
    from cells
    group by hash(cells)
),

repeated as (
    select
        sum(copies - 1)::bigint as repeated_rows,
        sum(copies)::bigint as file_rows,
    from fingerprints
)

select * from repeated
where repeated_rows > $quarantine_limit * file_rows
