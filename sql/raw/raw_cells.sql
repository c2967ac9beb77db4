-- one row per respondent and column that the study uses
with used_columns as (
    select
        respondent_id,
        columns(lambda code: list_contains($columns, code)),
    from raw_responses
),

used_cells as (
    unpivot used_columns
    on columns(* exclude (respondent_id))
    into name "column" value cell
)

select
    respondent_id,
    "column",
    cell,
from used_cells
