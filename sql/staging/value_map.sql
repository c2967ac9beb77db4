-- one row per column, cell and dimension (null for items): the code, the level or the missing code that the cell stands for
select
    "column",
    dimension::varchar as dimension,
    cell,
    code::integer as code,
    level::varchar as level,
    missing::varchar as missing,
    rule,
    respondents,
from mapped_values
order by "column", dimension, cell
