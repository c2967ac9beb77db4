-- a pair whose options, shares and target disagree: k options with k shares that sum to 1, and the target among the tied ones of them
select
    item,
    subgroup_id,
    code,
    codes,
    shares,
from pairs
where
    (
        len(codes) = k
        and len(shares) = k
        and abs(list_sum(shares) - 1) <= 1e-9
        and list_contains(tied_codes, code)
        and list_has_all(codes, tied_codes)
    ) is not true
