-- one row per column and distinct cell, for the columns whose texts are mapped to codes or levels
select
    "column",
    cell,
    count(*) as respondents,
from raw_cells
where list_contains($columns, "column")
group by "column", cell
order by "column", cell
