-- one row per respondent of the file: every cell as text, empty where nothing stands
-- The survey's own interview ids repeat: a respondent is known by file and row. A file comes in blocks, $earlier rows before this one.
select
    $file || '-' || ($earlier + row_number() over ()) as respondent_id,
    survey_rows.*,
from survey_rows
