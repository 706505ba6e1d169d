"""Genotype text: what it accepts, what it refuses, and that the hash never changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degas_ray.errors import GenotypeError
from degas_ray.space import PUBLISHED, Genotype, find_genotype

GOOD = str(PUBLISHED["degas-cifar10"])


def test_the_hash_is_stable():
    assert PUBLISHED["degas-cifar10"].hash == "dcb411747f00"


def test_white_space_and_the_order_of_inputs_do_not_matter():
    spread = (
        GOOD.replace("; ", " ;\n ")
        .replace("=", " = ")
        .replace("up_conv_1x1(U0)+up_conv_3x3(N1a)", "up_conv_3x3( N1a ) + up_conv_1x1(U0)")
    )
    assert Genotype.parse(spread) == PUBLISHED["degas-cifar10"]


def test_residual_inputs_and_strides_are_told_apart():
    maps = {m.name: m for m in PUBLISHED["degas-cifar10"].maps}
    assert [(e.op, e.source, e.residual, e.stride) for e in maps["U2"].inputs] == [
        ("deconv_4x4", "U1", True, 2),
        ("up_conv_3x3", "N2a", False, 2),
    ]
    assert maps["N3a"].kind == "normal"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no map"),
        ("hello", "not of the form"),
        (GOOD.replace("conv_3x3(U2)", "conv_7x7(U2)"), "'conv_7x7' is not one of"),
        (GOOD.replace("deconv_6x6(N3a)", "deconv_6x6(N9z)"), "cannot read 'N9z'"),
        (GOOD.replace("deconv_6x6(N3a)", "deconv_6x6(U0)"), "cannot read 'U0'"),
        (GOOD.replace("deconv_6x6(N3a)", "deconv_6x6(U2)"), "needs one operation from N3a"),
        (GOOD + "+up_conv_1x1(U2)+up_conv_1x1(U1)", "at most one other input"),
        (GOOD.replace("; N2a=sep_conv_3x3(U1)", ""), "N2a is missing"),
        (GOOD + "; N4a=conv_3x3(U3)", "N4a is no map"),
        (GOOD + "; U3=deconv_4x4(N3a)", "U3 is given twice"),
    ],
)
def test_faults_are_named(text, said):
    with pytest.raises(GenotypeError, match="is no genotype") as caught:
        Genotype.parse(text)
    assert said in str(caught.value)


def test_all_faults_come_at_once():
    with pytest.raises(GenotypeError) as caught:
        Genotype.parse(GOOD.replace("conv_3x3(U2)", "conv_7x7(U2)").replace("deconv_6x6(N3a)", "deconv_9x9(N3a)"))
    assert "conv_7x7" in str(caught.value)
    assert "deconv_9x9" in str(caught.value)


@given(st.text())
def test_text_that_is_no_genotype_gets_a_sentence(text):
    with pytest.raises(GenotypeError, match="degas-ray show"):
        Genotype.parse(text)


def test_a_genotype_is_found_by_name_text_or_file(tmp_path):
    genotype = PUBLISHED["degas-stl10"]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(genotype.to_json()))
    assert find_genotype("degas-stl10") == find_genotype(str(genotype)) == find_genotype(str(path)) == genotype


@pytest.mark.parametrize("content", [b"\xff\xfe", b"not json", b"[]", b'{"genotype": 3}', b"[" * 100_000])
def test_a_bad_file_is_a_sentence(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(GenotypeError, match=r"expected|nested"):
        find_genotype(str(path))


def test_a_description_names_every_operation():
    said = PUBLISHED["degas-stl10"].describe()
    assert "avg_pool_3x3 of U1" in said
    assert "up_conv_3x3 of U2 (residual)" in said
