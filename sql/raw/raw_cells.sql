-- one row per respondent of the study's country and wave, and column that the study uses
-- Rows and columns are chosen before the table is turned: a cross-national file has sixty million cells.
with used_columns as (
    select
        respondent_id,
        columns(lambda code: list_contains($columns, code)),
    from raw_responses
    where
        list_contains($country_cells, columns(lambda code: code = $country_column))
        and list_contains($wave_cells, columns(lambda code: code = $wave_column))
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
