import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, fields
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from itertools import product
from math import exp, log10
from shutil import rmtree

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from diascope import Predictor
from diascope.bundle import BundleDescription, Preprocessing, TrainingData, save_bundle
from diascope.calibration import fit_conformal
from diascope.colour import ita_degrees, srgb_to_lab
from diascope.config import GateConfig, NetworkConfig, QualityConfig
from diascope.errors import (
    BundleError,
    DeviceError,
    GuidanceError,
    ImageError,
    UnreadableReason,
)
from diascope.guidance import Context, GlassNote, combine, load_pack
from diascope.inference import CHUNK, Prediction
from diascope.labels import INTENDED_USE, LABEL_ORDER, MarkType, Verdict
from diascope.renderer import render

SIZE = 32


def linear_onnx(weights, bias, size=SIZE, outputs=("logits",)):
    """A network whose logits are ``weights`` times the mean of each input channel, plus bias."""
    constants = {"weights": np.transpose(weights), "bias": bias, "axes": [2, 3]}
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("ReduceMean", ["relative_density", "axes"], ["mean"], keepdims=0),
                helper.make_node("Gemm", ["mean", "weights", "bias"], [outputs[0]]),
            ],
            "linear",
            [
                helper.make_tensor_value_info(
                    "relative_density", TensorProto.FLOAT, ["batch", 3, size, size]
                )
            ],
            [helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, ["batch", 3])],
            [
                numpy_helper.from_array(
                    np.asarray(values, dtype=np.int64 if name == "axes" else np.float32), name
                )
                for name, values in constants.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def save_linear(folder, network, temperature=1.0, quality=None, conformal=None, **gates):
    description = BundleDescription(
        name="linear",
        version="0.1.0",
        created=datetime(2025, 1, 1, tzinfo=UTC),
        preprocessing=Preprocessing(size=SIZE),
        network=NetworkConfig(),
        parameters=12,
        temperature=temperature,
        gates=GateConfig(**gates),
        quality=quality or QualityConfig(),
        conformal=conformal,
        data=TrainingData(digest=None, summary="Nothing.", rendered=0, photographs=0),
        data_licence="none",
        intended_use="Tests.",
        library_versions={},
        command="none",
    )
    weights = {"head.bias": np.zeros(3, dtype=np.float32)}
    return save_bundle(folder, description, weights, network, None).folder


@pytest.fixture
def constant(tmp_path):
    """Makes a predictor that gives the same logits for every picture."""
    count = iter(range(1000))

    def make(logits, **settings):
        network = linear_onnx(np.zeros((3, 3)), logits)
        return Predictor.load(save_linear(tmp_path / f"{next(count)}", network, **settings))

    return make


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


@cache
def picture(index, size=96):
    return render(index, seed=5, size=size).pixels


def png(pixels):
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


SKIN, RED = (200, 150, 120), (180, 90, 80)


def two_colours():
    """64 x 64: a red quarter on skin; 70 % are reached at 0.6 of skin's level, at +0.1."""
    pixels = np.full((64, 64, 3), SKIN, dtype=np.uint8)
    pixels[:32, :32] = RED
    return pixels


def density(value):
    share = value / 255
    linear = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
    return -log10(linear + 0.01)


# From colours to probabilities.


def test_probabilities_are_those_computed_by_hand(tmp_path):
    weights, bias, temperature = np.diag([3.0, -2.0, 1.0]), (0.1, 0.2, -0.3), 0.8
    folder = save_linear(tmp_path / "linear", linear_onnx(weights, bias), temperature=temperature)

    prediction = Predictor.load(folder).predict(two_colours())

    means = [
        0.25 * density(red) + 0.75 * density(skin) - density(skin + 0.1)
        for red, skin in zip(RED, SKIN, strict=True)
    ]
    logits = [weights[i, i] * means[i] + bias[i] for i in range(3)]
    powers = [exp(logit / temperature) for logit in logits]
    expected = [power / sum(powers) for power in powers]
    assert list(prediction.probabilities) == list(LABEL_ORDER)
    assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    assert prediction.separation == pytest.approx(expected[1] / (expected[0] + expected[1]))


def test_a_network_that_gives_no_features_says_so(constant):
    with pytest.raises(BundleError, match=r"model\.onnx: gives no features; train again"):
        constant([1.0, 0.0, 0.0]).features(np.zeros((1, 3, SIZE, SIZE), np.float32))


def test_the_temperature_divides_the_logits(constant):
    warm = constant([2.0, 0.0, -1.0], temperature=2.0).predict(picture(0))
    powers = [exp(1.0), exp(0.0), exp(-0.5)]
    assert warm.class_probabilities == pytest.approx([power / sum(powers) for power in powers])


@pytest.mark.parametrize(
    ("logits", "verdict", "reasons"),
    [
        ([9.0, 0.0, 0.0], Verdict.ERYTHEMATOUS, []),
        ([0.0, 9.0, 0.0], Verdict.HYPERPIGMENTED, []),
        ([0.0, 0.0, 9.0], Verdict.NEITHER, ["no_mark"]),
        ([2.0, 2.1, 0.0], Verdict.UNCLEAR, ["too_close"]),
    ],
)
def test_the_gates_turn_probabilities_into_a_verdict(constant, logits, verdict, reasons):
    prediction = constant(logits).predict(picture(0))
    assert prediction.verdict is prediction.image_verdict is verdict
    assert list(prediction.reasons) == reasons


@pytest.mark.parametrize(
    ("probabilities", "verdict", "reason"),
    [
        ((0.8, 0.1, 0.1), Verdict.ERYTHEMATOUS, None),
        ((0.45, 0.45, 0.1), Verdict.UNCLEAR, "too_close"),
        ((0.35, 0.34, 0.31), Verdict.NOT_ASSESSABLE, "unlike_training"),
        ((0.5, 0.05, 0.45), Verdict.UNCLEAR, "not_sure"),
    ],
)
def test_a_bundle_s_conformal_sets_decide(constant, probabilities, verdict, reason):
    gate = fit_conformal(
        np.repeat([[0.4, 0.6, 0.0], [0.6, 0.4, 0.0], [0.6, 0.0, 0.4]], 12, axis=0),
        [label for label in LABEL_ORDER for _ in range(12)],
        coverage=0.9,
        named_share=0.7,
    )
    assert gate.least_probability == dict.fromkeys(LABEL_ORDER, 0.4)
    assert gate.least_to_name == 0.6
    given = {"rule": "conformal", "conformal": gate}
    prediction = constant(np.log(probabilities), **given).predict(picture(0))
    assert prediction.verdict is verdict
    assert [code.value for code in prediction.reasons] == ([reason] if reason else [])
    assert all(words.endswith(".") for words in prediction.reason_words)
    # Gates change the verdict only.
    assert prediction.class_probabilities == pytest.approx(probabilities, abs=1e-6)
    # The glass test lifts neither `not_assessable` nor `neither`.
    if verdict is Verdict.NOT_ASSESSABLE:
        answered = constant(np.log(probabilities), **given).predict(picture(0), blanches=True)
        assert answered.verdict is Verdict.NOT_ASSESSABLE


def test_the_bundle_s_own_gates_decide(constant):
    close = [1.0, 0.0, 0.0]  # P(red | red or brown) = 0.73
    assert constant(close, separation_floor=0.7).predict(picture(0)).verdict == "erythematous"
    assert constant(close, separation_floor=0.75).predict(picture(0)).verdict == "unclear"
    assert constant(close, neither_threshold=0.2).predict(picture(0)).verdict == "neither"


def test_quality_vetoes_the_verdict_and_keeps_the_numbers(predictor):
    grey = np.repeat(picture(0)[..., :1], 3, axis=2)
    prediction = predictor.predict(grey)
    assert prediction.verdict is prediction.image_verdict is Verdict.NOT_ASSESSABLE
    assert prediction.reasons == ("no_colour",)
    assert prediction.reason_words == ("The picture has no colour; give the colour photograph.",)
    assert sum(prediction.class_probabilities) == pytest.approx(1.0)
    assert 0.0 <= prediction.separation <= 1.0


def test_the_bundle_s_own_thresholds_decide(tmp_path):
    network = linear_onnx(np.zeros((3, 3)), [9.0, 0.0, 0.0])
    strict = QualityConfig(least_resolution=97)
    folder = save_linear(tmp_path / "strict", network, quality=strict)
    declined = Predictor.load(folder).predict(picture(0))
    assert (declined.verdict, declined.reasons) == ("not_assessable", ("low_resolution",))
    folder = save_linear(tmp_path / "wide", network)
    assert Predictor.load(folder).predict(picture(0)).verdict == "erythematous"


def test_quality_is_of_what_is_judged(predictor):
    pixels = np.full((300, 400, 3), SKIN, np.uint8)
    pixels[:, 200:] = (70, 120, 40)  # grass
    whole = predictor.predict(pixels).quality
    boxed = predictor.predict(pixels, box=(20, 20, 60, 80)).quality
    beside = predictor.predict(pixels, box=(350, 20, 390, 60)).quality
    assert (whole.resolution, boxed.resolution) == (300, 90)  # 10 to 90, and half of 60 around
    assert whole.skin_share == pytest.approx(0.5, abs=0.02)
    assert (boxed.skin_share, beside.skin_share) == (1.0, 0.0)
    assert predictor.predict(pixels).to_dict()["quality"] == asdict(whole)


def test_every_reason_to_veto_is_told(predictor):
    black = predictor.predict(np.zeros((64, 64, 3), dtype=np.uint8))
    assert black.reasons == ("no_colour", "under_exposed")
    assert all(np.isfinite(black.class_probabilities))


def test_numbers_that_are_not_finite_are_refused(constant):
    with pytest.raises(BundleError, match="numbers that are not finite"):
        constant([float("nan"), 0.0, 0.0]).predict(picture(0))


# The glass test and guidance.

LOGITS_OF = {
    Verdict.ERYTHEMATOUS: [9.0, 0.0, 0.0],
    Verdict.HYPERPIGMENTED: [0.0, 9.0, 0.0],
    Verdict.UNCLEAR: [0.0, 0.0, -9.0],
    Verdict.NEITHER: [0.0, 0.0, 9.0],
}


@pytest.mark.parametrize(("seen", "answer"), list(product(Verdict, [None, True, False])))
def test_the_glass_test_changes_the_verdict_and_its_reasons_only(constant, seen, answer):
    network = constant(LOGITS_OF.get(seen, [9.0, 0.0, 0.0]))
    pixels = picture(0)
    if seen is Verdict.NOT_ASSESSABLE:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)

    without, given = network.predict(pixels), network.predict(pixels, blanches=answer)

    assert given.image_verdict is without.verdict is seen
    assert given.glass_test == combine(seen, answer)
    assert given.verdict is given.glass_test.verdict
    assert given.blanches is answer
    assert bool(given.reasons) == given.verdict.declines
    assert len(given.reason_words) == len(given.reasons)
    assert given.class_probabilities == without.class_probabilities
    assert given.separation == without.separation
    if seen in (Verdict.NEITHER, Verdict.NOT_ASSESSABLE):
        assert given.verdict is seen
        assert given.reasons == without.reasons


def test_a_contradiction_is_the_reason_to_decline(constant):
    prediction = constant([9.0, 0.0, 0.0]).predict(picture(0), blanches=False)
    assert prediction.verdict is Verdict.UNCLEAR
    assert prediction.image_verdict is Verdict.ERYTHEMATOUS
    assert prediction.reasons == (GlassNote.RED_STAYS,)
    assert prediction.reason_words == (prediction.glass_test.words,)


def test_an_answer_that_decides_leaves_no_reason_to_decline(constant):
    prediction = constant([0.0, 0.0, -9.0]).predict(picture(0), blanches=False)
    assert prediction.verdict is Verdict.HYPERPIGMENTED
    assert prediction.reasons == ()


@pytest.mark.parametrize("contexts", [(), ("pregnancy",), (Context.DARK_SKIN, "pregnancy")])
def test_guidance_is_the_pack_s_for_verdict_contexts_and_glass_test(constant, contexts):
    prediction = constant([9.0, 0.0, 0.0]).predict(picture(0), blanches=False, contexts=contexts)
    assert prediction.contexts == contexts
    assert prediction.guidance == load_pack().claims_for(
        Verdict.UNCLEAR, contexts, glass=GlassNote.RED_STAYS
    )
    assert prediction.guidance_version == load_pack().version


@pytest.mark.parametrize(
    "wrong", [{"contexts": ("pregnant",)}, {"blanches": "yes"}, {"blanches": 1}]
)
def test_an_unknown_context_or_answer_is_refused(predictor, wrong):
    with pytest.raises(GuidanceError, match=r"pregnant|blanches"):
        predictor.predict(picture(0), **wrong)


# Pictures in.


def test_every_kind_of_source_gives_the_same_prediction(predictor, tmp_path):
    data = png(picture(1))
    (tmp_path / "mark.png").write_bytes(data)
    sources = [
        tmp_path / "mark.png",
        str(tmp_path / "mark.png"),
        data,
        BytesIO(data),
        Image.open(BytesIO(data)),
    ]
    expected = predictor.predict(picture(1))
    assert [predictor.predict(source) for source in sources] == [expected] * len(sources)


def test_the_size_is_the_upright_original_s_however_small_it_is_decoded(predictor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    large = Image.fromarray(picture(1)).resize((1600, 1200))
    large.save(tmp_path / "side.jpg", exif=exif)
    prediction = predictor.predict(tmp_path / "side.jpg")
    assert (prediction.width, prediction.height) == (1200, 1600)


def test_a_picture_is_not_changed(predictor):
    pixels = picture(2).copy()
    image = Image.fromarray(pixels)
    predictor.predict_batch([pixels, image, pixels], boxes=[None, None, (10, 10, 60, 60)])
    np.testing.assert_array_equal(pixels, picture(2))
    np.testing.assert_array_equal(np.asarray(image), picture(2))


def test_with_a_box_the_skin_around_it_is_the_reference(tmp_path):
    # Mark over more than 70 %: without a box the mark itself is the reference.
    pixels = np.full((64, 64, 3), SKIN, dtype=np.uint8)
    pixels[4:60, 4:60] = RED
    network = Predictor.load(save_linear(tmp_path / "l", linear_onnx(np.eye(3), np.zeros(3))))

    whole = network.predict(pixels)
    boxed = network.predict(pixels, box=(4, 4, 60, 60))

    def logits(prediction):
        return np.diff(np.log(prediction.class_probabilities))

    share = (56 / 64) ** 2
    relative = [density(red) - density(skin) for red, skin in zip(RED, SKIN, strict=True)]
    assert logits(boxed) == pytest.approx(np.diff(relative) * share, abs=0.01)
    assert logits(whole) == pytest.approx(-np.diff(relative) * (1 - share), abs=0.01)
    assert boxed.ita_degrees == network.predict(np.full((64, 64, 3), SKIN, np.uint8)).ita_degrees
    # 70 % of all are reached 0.7 / share into the level of the mark, the darker of the two.
    reference = (np.array(RED) - 0.5 + 0.7 / share) / 255
    assert whole.ita_degrees == pytest.approx(float(ita_degrees(srgb_to_lab(reference))))


def test_a_box_in_a_large_jpeg_sees_every_pixel(predictor, tmp_path):
    small = picture(3, size=64)
    large = np.full((1024, 1024, 3), SKIN, dtype=np.uint8)
    large[480:544, 480:544] = small
    Image.fromarray(large).save(tmp_path / "large.jpg", quality=100, subsampling=0)
    box = (480, 480, 544, 544)

    from_jpeg = predictor.predict(tmp_path / "large.jpg", box=box)
    from_pixels = predictor.predict(large, box=box)

    assert from_jpeg.class_probabilities == pytest.approx(from_pixels.class_probabilities, abs=0.05)


# Many pictures.


def test_answers_keep_order_and_length_over_chunks(predictor):
    count = 2 * CHUNK + 3
    pictures = [picture(index % 5) for index in range(count)]
    alone = [predictor.predict(picture(index)) for index in range(5)]

    together = predictor.predict_batch(pictures)

    assert len(together) == count
    for index, prediction in enumerate(together):
        expected = alone[index % 5]
        assert prediction.verdict is expected.verdict
        assert prediction.class_probabilities == pytest.approx(
            expected.class_probabilities, abs=1e-5
        )
    assert len({prediction.class_probabilities for prediction in alone}) == 5


BAD = [b"", b"no picture", b"\xff\xd8\xff\xe0 cut", "nowhere.jpg"]


@settings(max_examples=25)
@given(st.lists(st.one_of(st.integers(0, 4), st.sampled_from(BAD)), max_size=8))
def test_a_bad_picture_never_moves_another_s_answer(kinds):
    network = _linear_for_properties()
    images = [picture(kind) if isinstance(kind, int) else kind for kind in kinds]

    answers = network.predict_batch(images, on_error="return")

    assert len(answers) == len(kinds)
    for kind, answer in zip(kinds, answers, strict=True):
        if isinstance(kind, int):
            alone = network.predict(picture(kind))
            assert answer.class_probabilities == pytest.approx(alone.class_probabilities, abs=1e-6)
        else:
            assert isinstance(answer, ImageError)


@cache
def _linear_for_properties():
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        network = linear_onnx(np.diag([5.0, -5.0, 9.0]), np.zeros(3))
        return Predictor.load(save_linear(f"{folder}/linear", network), threads=1)


def test_on_error_raise_raises_the_first_bad_picture(predictor, tmp_path):
    pictures = [picture(0), tmp_path / "gone.png", b""]
    with pytest.raises(ImageError, match=r"gone\.png") as caught:
        predictor.predict_batch(pictures)
    assert caught.value.reason is UnreadableReason.MISSING


def test_a_returned_error_keeps_no_picture_alive(predictor):
    error = predictor.predict_batch([b"no picture"], on_error="return")[0]
    assert error.__traceback__ is None
    assert error.__cause__ is None
    assert error.__context__ is None


def test_no_pictures_give_no_answers(predictor):
    assert predictor.predict_batch([]) == []


def test_boxes_answers_and_contexts_go_with_their_picture(predictor):
    together = predictor.predict_batch(
        [picture(1), picture(1), picture(2)],
        boxes=[None, (20, 20, 70, 70), None],
        blanches=[True, None, False],
        contexts=[(), ("pregnancy",), ("dark_skin",)],
    )
    assert [p.blanches for p in together] == [True, None, False]
    assert [p.contexts for p in together] == [(), (Context.PREGNANCY,), (Context.DARK_SKIN,)]
    boxed = predictor.predict(picture(1), box=(20, 20, 70, 70))
    assert together[1].class_probabilities == pytest.approx(boxed.class_probabilities, abs=1e-5)
    assert together[0].class_probabilities != pytest.approx(boxed.class_probabilities, abs=1e-5)


def test_boxes_may_be_an_array(predictor):
    boxes = [(20, 20, 70, 70), (10, 10, 50, 60)]
    listed = predictor.predict_batch([picture(1), picture(2)], boxes=boxes)
    assert predictor.predict_batch([picture(1), picture(2)], boxes=np.array(boxes)) == listed


@pytest.mark.parametrize("name", ["boxes", "blanches", "contexts"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_as_many_of_each_as_pictures(predictor, name, count):
    values = [() if name == "contexts" else None] * count
    with pytest.raises(ValueError, match=rf"2 pictures, but {count} {name}"):
        predictor.predict_batch([picture(0), picture(1)], **{name: values})


@pytest.mark.parametrize("one", ["photo.jpg", b"bytes"])
def test_one_picture_is_not_taken_for_many(predictor, one, tmp_path):
    with pytest.raises(TypeError, match="use predict for one"):
        predictor.predict_batch(one)
    with pytest.raises(TypeError, match="use predict for one"):
        predictor.predict_batch(tmp_path)


@pytest.mark.parametrize(
    "box", [(0, 0, 9), (0, 0, float("nan"), 9), (0, 0, float("inf"), 9), (0, 0, 9, 9, 9)]
)
def test_a_box_is_four_finite_numbers(predictor, box):
    with pytest.raises(ValueError, match="four finite numbers"):
        predictor.predict(picture(0), box=box)


@pytest.mark.parametrize("box", [(200, 200, 300, 300), (50, 50, 10, 10), (5, 5, 5, 5)])
def test_a_box_with_nothing_in_it_is_an_error_that_names_the_picture(predictor, box, tmp_path):
    (tmp_path / "mark.png").write_bytes(png(picture(0)))
    with pytest.raises(ImageError, match=r"mark\.png: box \d+,.*under two pixels") as caught:
        predictor.predict(tmp_path / "mark.png", box=box)
    assert caught.value.reason is UnreadableReason.TOO_SMALL


def test_on_error_takes_two_words(predictor):
    with pytest.raises(ValueError, match=r"'skip'; give \"raise\" or \"return\""):
        predictor.predict_batch([], on_error="skip")


# Threads, processes, time.


def test_threads_share_a_predictor(predictor):
    pictures = [picture(index) for index in range(12)]
    alone = [predictor.predict(pixels) for pixels in pictures]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(predictor.predict, pictures)) == alone


def test_the_number_of_threads_changes_nothing(untrained_bundle, predictor):
    more = Predictor.load(untrained_bundle, threads=2)
    assert more.predict(picture(1)).class_probabilities == pytest.approx(
        predictor.predict(picture(1)).class_probabilities, abs=1e-6
    )


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_a_pickled_predictor_predicts_the_same_without_its_folder(
    untrained_bundle, tmp_path, runtime
):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in untrained_bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    before = Predictor.load(folder, runtime=runtime, threads=1)
    data = pickle.dumps(before)
    rmtree(folder)

    after = pickle.loads(data)

    assert after.predict(picture(1)) == before.predict(picture(1))
    assert after.name == before.name
    assert (after.device, after.runtime) == ("cpu", runtime)


# What a prediction is.


def test_a_prediction_is_frozen_hashable_and_picklable(predictor):
    given = {"contexts": ("pregnancy",), "blanches": True}
    prediction = predictor.predict(picture(1), **given)
    with pytest.raises(FrozenInstanceError):
        prediction.verdict = Verdict.NEITHER
    prediction.probabilities[MarkType.NEITHER] = 1.0
    assert prediction.probabilities[MarkType.NEITHER] != 1.0
    assert pickle.loads(pickle.dumps(prediction)) == prediction
    assert hash(prediction) == hash(
        predictor.predict(picture(1), contexts=("pregnancy",), blanches=True)
    )


def test_a_prediction_holds_no_pixels(predictor):
    prediction = predictor.predict(picture(1))
    values = [getattr(prediction, field.name) for field in fields(Prediction)]
    assert not [value for value in values if isinstance(value, np.ndarray | np.generic)]
    assert len(pickle.dumps(prediction)) < 50_000


def plain(value):
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def test_to_dict_is_plain_json_with_its_origin_and_intended_use(predictor, untrained_bundle):
    grey = np.repeat(picture(1)[..., :1], 3, axis=2)
    prediction = predictor.predict(grey, contexts=("pregnancy",), blanches=False)
    given = prediction.to_dict()

    assert plain(given)
    assert json.loads(json.dumps(given, allow_nan=False)) == given
    assert given["verdict"] == "not_assessable"
    assert given["reasons"][0]["code"] == "no_colour"
    assert list(given["probabilities"]) == ["erythematous", "hyperpigmented", "neither"]
    assert given["model"] == {"name": "untrained", "digest": predictor.bundle.digest}
    assert given["guidance_version"] == load_pack().version
    assert given["intended_use"] == INTENDED_USE
    assert given["estimates"] == ["ita_degrees"]
    assert (given["blanches"], given["contexts"]) == (False, ["pregnancy"])
    assert (given["width"], given["height"]) == (96, 96)
    assert [claim["id"] for claim in given["guidance"]] == [c.id for c in prediction.guidance]


def test_the_name_tells_bundle_and_digest(predictor):
    assert predictor.name == f"untrained@{predictor.bundle.digest[:12]}"


# Bundles and devices that cannot be run.


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (b"no network", "ONNX Runtime cannot run it"),
        (linear_onnx(np.eye(3), np.zeros(3), size=64), "not the network of this bundle"),
        (
            linear_onnx(np.eye(3), np.zeros(3), outputs=("scores",)),
            "not the network of this bundle",
        ),
    ],
)
def test_a_network_that_is_not_the_description_s_is_refused(tmp_path, network, message):
    with pytest.raises(BundleError, match=rf"model\.onnx: {message}"):
        Predictor.load(save_linear(tmp_path / "linear", network))


def test_weights_of_another_network_are_refused(tmp_path):
    folder = save_linear(tmp_path / "linear", linear_onnx(np.eye(3), np.zeros(3)))
    with pytest.raises(BundleError, match=r"weights\.safetensors: not the weights"):
        Predictor.load(folder, runtime="torch")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "device tpu: unknown; give auto, cpu or cuda"),
        ({"runtime": "jax"}, "runtime jax: unknown; give onnx or torch"),
    ],
)
def test_an_unknown_device_or_runtime_is_refused(untrained_bundle, settings, message):
    with pytest.raises(DeviceError, match=message):
        Predictor.load(untrained_bundle, **settings)


def test_cuda_is_used_where_it_is_and_refused_where_not(untrained_bundle, predictor):
    torch = pytest.importorskip("torch")
    automatic = Predictor.load(untrained_bundle, device="auto")
    if torch.cuda.is_available():
        assert (automatic.device, automatic.runtime) == ("cuda", "torch")
        assert automatic.predict(picture(1)).class_probabilities == pytest.approx(
            predictor.predict(picture(1)).class_probabilities, abs=1e-4
        )
    else:
        assert (automatic.device, automatic.runtime) == ("cpu", "onnx")
        with pytest.raises(DeviceError, match="cuda: there is none on this machine; use cpu"):
            Predictor.load(untrained_bundle, device="cuda")


def in_a_new_python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("settings", ['runtime="torch"', 'device="cuda"'])
def test_without_torch_the_message_names_the_extra(untrained_bundle, settings):
    code = f"""
import sys
sys.modules["torch"] = None
from diascope import Predictor
Predictor.load(sys.argv[1], {settings})
"""
    done = in_a_new_python(code, untrained_bundle)
    assert "MissingExtraError: " in done.stderr
    assert "pip install 'diascope[train]'" in done.stderr


def test_import_and_prediction_load_no_training_packages(untrained_bundle, tmp_path):
    (tmp_path / "mark.png").write_bytes(png(picture(1)))
    code = """
import sys
heavy = {"torch", "torchvision", "albumentations", "sklearn", "lightning", "matplotlib", "scipy"}
import diascope
assert not {*heavy, "onnxruntime", "numpy"} & set(sys.modules), "import diascope"
prediction = diascope.Predictor.load(sys.argv[1]).predict(sys.argv[2])
assert not heavy & set(sys.modules), heavy & set(sys.modules)
print(prediction.verdict)
"""
    done = in_a_new_python(code, untrained_bundle, tmp_path / "mark.png")
    assert done.stderr == ""
    assert done.stdout.strip() in list(Verdict)


def test_without_torch_device_auto_is_the_processor(untrained_bundle):
    code = """
import sys
sys.modules["torch"] = None
from diascope import Predictor
print(Predictor.load(sys.argv[1], device="auto").runtime)
"""
    done = in_a_new_python(code, untrained_bundle)
    assert (done.stdout.strip(), done.stderr) == ("onnx", "")
