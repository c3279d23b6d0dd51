import struct
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tolerance import assert_close

from unspool.data.augment import masked, noisy, shifted
from unspool.data.made_samples import tones
from unspool.data.resample import resample
from unspool.data.sound import SoundEncoder, log_mel, mel_filters, with_deltas
from unspool.data.sound_file import read_sound
from unspool.data.sound_settings import SoundSettings
from unspool.data.wav import decode_wav, encode_wav
from unspool.errors import ConfigError, DataError

SAMPLES = np.array([[0.0, 0.5], [-1.0, 0.25], [0.75, -0.5]])


def wav(body, code, bits, channels=2, rate=8000, extensible=False, size=None):
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits)
    if extensible:
        form = struct.pack("<HHIIHH", 0xFFFE, channels, rate, rate * block, block, bits)
        form += (
            struct.pack("<HHIH", 22, bits, 0, code) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
        )
    chunks = b"LIST" + struct.pack("<I", 3) + b"odd\0"
    chunks += b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(body) if size is None else size) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def pcm(bits):
    whole = np.round(SAMPLES * 2 ** (bits - 1)).astype(np.int64).ravel()
    if bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    return b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in whole)


FORMS = {
    "8": (pcm(8), 1, 8), "16": (pcm(16), 1, 16), "24": (pcm(24), 1, 24), "32": (pcm(32), 1, 32),
    "float": (SAMPLES.astype("<f4").tobytes(), 3, 32),
    "double": (SAMPLES.astype("<f8").tobytes(), 3, 64),
}  # fmt: skip


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_samples_come_back_from_every_form_of_wav(form, extensible):
    sound, rate = decode_wav(wav(*FORMS[form], extensible=extensible), "x.wav")
    assert rate == 8000
    assert sound.dtype == np.float32
    assert np.array_equal(sound, SAMPLES)


def test_a_file_with_open_sizes_is_read_to_its_end():
    assert np.array_equal(decode_wav(wav(*FORMS["16"], size=0xFFFFFFFF), "x")[0], SAMPLES)


BAD = {
    "empty file": b"", "no wav": b"RIFX" + bytes(40), "no data": wav(*FORMS["16"])[:-20],
    "cut short": wav(*FORMS["16"])[:-1], "no samples": wav(b"", 1, 16),
    "half a sample": wav(b"\0\0\0", 1, 16, channels=1), "mp3": wav(pcm(16), 85, 16),
    "12 bits": wav(pcm(16), 1, 12), "no channels": wav(pcm(16), 1, 16, channels=0),
    "no rate": wav(pcm(16), 1, 16, rate=0),
    "rate of gigahertz": wav(pcm(16), 1, 16, rate=2**32 - 1 >> 3),
    "not finite": wav(struct.pack("<2f", float("nan"), 0), 3, 32),
}  # fmt: skip


@pytest.mark.parametrize("lost", [1, 2, 4, 8])
def test_a_wav_that_is_cut_short_says_so_wherever_it_is_cut(lost):
    with pytest.raises(DataError, match=r"is cut short, .* where its header speaks of 12"):
        decode_wav(wav(*FORMS["16"])[:-lost], "x.wav")


@pytest.mark.parametrize("what", BAD)
def test_a_damaged_wav_is_an_error_of_one_line_that_names_the_file(what):
    with pytest.raises(DataError, match=r"^x\.wav: ") as caught:
        decode_wav(BAD[what], "x.wav")
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.data())
def test_mutated_wav_bytes_give_finite_samples_or_one_line(form, data):
    content = bytearray(wav(*FORMS[form]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        sound, rate = decode_wav(content, "x.wav")
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(sound).all() and 4000 <= rate <= 192_000
        assert 0 < sound.nbytes <= 8 * len(content)


def test_writing_and_reading_a_sound_changes_it_by_half_a_step_at_most():
    sound = np.random.RandomState(0).uniform(-1, 0.99, 100)
    assert np.abs(decode_wav(encode_wav(sound, 8000), "x")[0][:, 0] - sound).max() <= 0.5001 / 32768


def test_flac_without_its_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "x.flac").write_bytes(b"fLaC" + bytes(50))
    with pytest.raises(DataError, match=r"unspool\[audio\]"):
        read_sound(tmp_path / "x.flac")


def test_flac_is_read_like_the_wav_it_was_made_of(tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="soundfile is missing: unspool[audio]")
    sound = tones(each=1).inputs[0]
    soundfile.write(tmp_path / "x.flac", sound, 8000, subtype="PCM_16")
    found, rate = read_sound(tmp_path / "x.flac")
    assert rate == 8000
    assert np.array_equal(found[:, 0], np.round(sound * 32768) / np.float32(32768))
    (tmp_path / "x.flac").write_bytes((tmp_path / "x.flac").read_bytes()[:60])
    with pytest.raises(DataError, match=r"x\.flac"):
        read_sound(tmp_path / "x.flac")


def tone(frequency, rate):
    time = torch.arange(rate // 2, dtype=torch.float64) / rate
    return torch.sin(2 * torch.pi * frequency * time)[None]


RATES = [(44100, 8000), (48000, 16000), (16000, 8000), (11025, 8000), (8000, 16000), (8000, 44100)]


@pytest.mark.parametrize(("rate", "wanted"), RATES)
def test_tones_below_the_cutoff_survive_resampling(rate, wanted):
    edge = 400
    for share in (0.02, 0.25, 0.85):
        frequency = share * min(rate, wanted) / 2
        found, there = resample(tone(frequency, rate), rate, wanted), tone(frequency, wanted)
        assert found.shape == there.shape
        assert (found - there)[:, edge:-edge].abs().max() < 1e-3


@pytest.mark.parametrize(("rate", "wanted"), [pair for pair in RATES if pair[0] > pair[1]])
def test_tones_above_half_the_new_rate_are_sixty_decibels_down(rate, wanted):
    for share in (1.01, 1.1, 1.3):
        frequency = share * wanted / 2
        if frequency < rate / 2:
            found = resample(tone(frequency, rate), rate, wanted)[:, 300:-300]
            assert 10 * torch.log10(2 * found.square().mean()) < -60


@given(
    st.integers(0, 300),
    st.sampled_from([4000, 8000, 11025, 16000, 44100]),
    st.sampled_from([8000, 16000]),
)
@settings(max_examples=40, deadline=None)
def test_resampling_gives_the_rounded_length_for_every_length(steps, rate, wanted):
    found = resample(torch.ones(2, steps), rate, wanted)
    assert found.shape == (2, -(-steps * wanted // rate))
    assert found.isfinite().all()


def test_resampling_refuses_a_rate_that_is_none():
    with pytest.raises(DataError, match="4000 to 192000"):
        resample(torch.ones(1, 4), 1, 8000)


def test_a_tone_is_loudest_in_the_band_that_holds_it():
    config = SoundSettings(bands=20)
    filters = mel_filters(8000, 20, config.fft)
    for frequency in (300.0, 1000.0, 3000.0):
        band = log_mel(tone(frequency, 8000)[0].float(), config).mean(0).argmax()
        assert band == filters[round(frequency / 8000 * config.fft)].argmax()


def test_every_frequency_inside_is_shared_between_neighbouring_triangles():
    filters = mel_filters(16000, 30, 4096)
    assert (
        (filters >= 0).all()
        and ((filters > 0).sum(1) <= 2).all()
        and (filters.max(0)[0] > 0.9).all()
    )


def test_frames_of_a_beginning_are_the_beginning_of_the_frames(rng):
    sound, config = torch.randn(4000, generator=rng), SoundSettings()
    whole = log_mel(sound, config)
    cut = config.window_samples + 9 * config.hop_samples
    assert_close(log_mel(sound[:cut], config), whole[:10])


def test_a_frame_hears_its_own_window_and_nothing_else(rng):
    config = SoundSettings()
    sound = torch.randn(2000, generator=rng)
    begin = 5 * config.hop_samples
    end = begin + config.window_samples
    before = log_mel(sound, config)[5]
    for place, inside in ((begin - 1, False), (begin + 1, True), (end - 1, True), (end, False)):
        changed = sound.clone()
        changed[place] += 100
        assert torch.equal(log_mel(changed, config)[5], before) != inside


@pytest.mark.parametrize("steps", [1, 5, 199, 200, 201, 280, 281, 8000])
def test_every_length_gives_frames_that_cover_it(steps):
    config = SoundSettings()
    frames = log_mel(torch.ones(steps), config)
    assert len(frames) == 1 + max(0, -(-(steps - 200) // 80))
    assert frames.isfinite().all()


def test_a_silent_sound_gives_finite_frames():
    for normalise in ("train", "utterance"):
        config = SoundSettings(normalise=normalise)
        encoder = SoundEncoder.fit([np.zeros(4000, np.float32)], config)
        assert encoder.encode(np.zeros(900, np.float32)).abs().max() == 0


def test_training_frames_have_mean_zero_and_deviation_one():
    sounds = tones(each=2).inputs
    encoder = SoundEncoder.fit(sounds, SoundSettings())
    frames = torch.cat([encoder.encode(sound) for sound in sounds])
    assert frames.mean(0).abs().max() < 1e-4
    assert (frames.std(0, correction=0) - 1).abs().max() < 1e-3


def test_loudness_cancels_where_each_sound_is_normalised():
    sound = tones(each=1).inputs[0]
    encoder = SoundEncoder.fit([sound], SoundSettings(normalise="utterance", bands=20))
    assert (encoder.encode(sound) - encoder.encode(3 * sound)).abs().max() < 1e-3


def test_a_stereo_file_at_44100_becomes_one_channel_at_8000(tmp_path):
    stereo = np.stack([tone(440, 44100)[0], -0.5 * tone(440, 44100)[0]], 1)
    body = np.round(stereo * 32767).astype("<i2").tobytes()
    path = tmp_path / "stereo.wav"
    path.write_bytes(wav(body, 1, 16, rate=44100))
    encoder = SoundEncoder.fit([str(path)], SoundSettings())
    found, there = encoder.waveform(str(path)), 0.25 * tone(440, 8000)[0].float()
    assert found.shape == there.shape
    assert (found - there)[200:-200].abs().max() < 1e-3


@pytest.mark.parametrize(
    ("sound", "message"),
    [(np.zeros(0), "one sample"), (np.full(9, np.nan), "NaN"), (np.zeros(16001), "max_seconds")],
)
def test_what_is_no_sound_is_refused(sound, message):
    encoder = SoundEncoder.fit([np.ones(900)], SoundSettings(max_seconds=2.0))
    with pytest.raises(DataError, match=message):
        encoder.encode(sound)


def test_a_missing_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none\.wav: cannot be read"):
        read_sound(tmp_path / "none.wav")


def test_variations_repeat_with_their_generator_and_keep_the_length():
    sound = torch.from_numpy(tones(each=1).inputs[3])
    for vary, most in ((shifted, 20), (noisy, 20.0)):
        one, two = (vary(sound, most, torch.Generator().manual_seed(1)) for _ in range(2))
        assert torch.equal(one, two)
        assert one.shape == sound.shape and not torch.equal(one, sound)
    assert torch.equal(noisy(torch.zeros(9), 20.0, torch.Generator()), torch.zeros(9))


def test_noise_is_as_far_below_the_sound_as_was_asked(rng):
    sound = tone(440, 8000)[0]
    for _ in range(20):
        noise = noisy(sound, 10.0, rng) - sound
        below = 10 * torch.log10(sound.square().mean() / noise.square().mean())
        assert 9.5 < below < 40.5


def test_masks_blank_no_more_than_asked_and_leave_the_padding(rng):
    lengths, counted = torch.tensor([40, 8]), set()
    for _ in range(50):
        frames = torch.full((2, 40, 12), 2.0)
        found = masked(frames, lengths, 6, 3, rng, bands=12)
        assert (found[1, 8:] == 2).all() and (frames == 2).all()
        blank = found == 0
        assert (blank[0].all(1).sum() <= 6) and (blank[0].all(0).sum() <= 3)
        assert blank[1].all(1).sum() <= 2
        counted.add(int(blank[0].all(1).sum()))
    assert len(counted) > 3


def test_a_band_is_blanked_with_its_deltas(rng):
    for _ in range(20):
        found = masked(torch.ones(1, 5, 18), torch.tensor([5]), 0, 3, rng, bands=6)
        bands, slopes, curvatures = found[0].split(6, 1)
        assert bands.equal(slopes) and bands.equal(curvatures)


def test_deltas_are_the_slopes_of_lines_and_the_curvatures_of_parabolas():
    t = torch.arange(20.0, dtype=torch.float64)[:, None]
    line, parabola = 3 - 2 * t, t.square()
    found = with_deltas(torch.cat([line, parabola], 1), 2)
    assert found[:, :2].equal(torch.cat([line, parabola], 1))
    assert_close(found[2:-2, 2:4], torch.cat([torch.full_like(t, -2), 2 * t], 1)[2:-2])
    assert_close(found[4:-4, 4:], torch.tensor([0.0, 2.0], dtype=torch.float64).expand(12, 2))


def test_loudness_and_the_voice_as_a_whole_are_not_in_the_deltas(rng):
    frames, voice = torch.randn(9, 4, generator=rng), torch.randn(4, generator=rng)
    assert_close(with_deltas(frames + voice, 1)[:, 4:], with_deltas(frames, 1)[:, 4:])


@pytest.mark.parametrize(
    ("wrong", "key"),
    [({"rate": 1}, "sound.rate"), ({"bands": 0}, "sound.bands"), ({"bands": 500}, "sound.bands"),
     ({"hop": 0.5}, "sound.hop"), ({"normalise": "no"}, "sound.normalise"),
     ({"noise": -1.0}, "sound.noise"), ({"deltas": 3}, "sound.deltas"),
     ({"hop": float("nan")}, "sound.hop"), ({"max_seconds": 0.0}, "sound.max_seconds")],
)  # fmt: skip
def test_wrong_settings_are_named(wrong, key):
    with pytest.raises(ConfigError, match=key):
        SoundSettings(**wrong)


def test_keys_of_a_telephone_are_told_apart_by_the_nearest_mean():
    found, test = tones(each=6), tones(each=3, seed=9)
    encoder = SoundEncoder.fit(found.inputs, SoundSettings(window=0.05))
    means = {}
    for sound, key in zip(found.inputs, found.targets, strict=True):
        means.setdefault(key, []).append(encoder.encode(sound).mean(0))
    keys = sorted(means)
    centres = torch.stack([torch.stack(means[key]).mean(0) for key in keys])
    right = sum(
        keys[int((centres - encoder.encode(s).mean(0)).norm(dim=1).argmin())] == key
        for s, key in zip(test.inputs, test.targets, strict=True)
    )
    assert right > 0.5 * len(test)
