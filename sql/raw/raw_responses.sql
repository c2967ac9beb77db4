-- one row per respondent of the study's country: every cell of the file as text
-- The survey's own interview ids repeat, so that a respondent is known by file and row.
select
    $file || '-' || survey_rows.file_row as respondent_id,
    survey_rows.* exclude (file_row),
from survey_rows
