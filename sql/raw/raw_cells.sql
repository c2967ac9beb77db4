-- one row per respondent and column that the study uses
with used_cells as (
    unpivot raw_responses
    on columns(lambda code: list_contains($columns, code))
    into name "column" value cell
)

select
    respondent_id,
    "column",
    cell,
from used_cells
