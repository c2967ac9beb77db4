-- one row per respondent of the study's countries and waves: the columns that are used, every cell as text, empty where nothing stands
-- The survey's own interview ids repeat: a respondent is known by file and row.
with numbered as (
    select
        $file || '-' || row_number() over () as respondent_id,
        survey_rows.*,
    from survey_rows
)

select
    respondent_id,
    columns(lambda code: list_contains($columns, code)),
from numbered
where
    ($everybody or list_contains($country_cells, columns(lambda code: code = $country_column)))
    and ($everybody or list_contains($wave_cells, columns(lambda code: code = $wave_column)))
