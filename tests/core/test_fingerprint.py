"""What tells one set of batches from another."""

import pytest
import torch

from featherweight.core.fingerprint import fingerprint_of_batches

X = torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize(
    "batches",
    [
        [(X + torch.eye(2, 3), None)],
        [X.bfloat16()],
        [X.view(3, 2)],
        [X, X],
        [{"x": X > 2}],
        [X.to_sparse()],
        [torch.tensor(1.0).to_sparse()],
        [torch.view_as_complex(X.view(3, 2)).conj()],
        [torch.nested.nested_tensor(list(X), layout=torch.jagged)],
        [],
    ],
)
def test_other_batches_have_another(batches):
    assert fingerprint_of_batches(batches) == fingerprint_of_batches(list(batches))
    assert fingerprint_of_batches(batches) != fingerprint_of_batches([(X, "a label")])
    assert fingerprint_of_batches([{"x": X.clone()}]) == fingerprint_of_batches([(X, "a label")])
