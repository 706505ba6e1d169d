"""Scores of two judges with their protocols: extractors, statistics of real images, FID, KID, IS and the rest."""

from degas_ray.scores.classifier import Classifier
from degas_ray.scores.extractors import EXTRACTORS, Extractor, Features, load_extractor
from degas_ray.scores.floor import floor
from degas_ray.scores.images import image_batches, open_samples
from degas_ray.scores.metrics import frechet_distance, inception_score, kernel_distance, moments
from degas_ray.scores.protocol import Protocol, comparable, differences
from degas_ray.scores.reference import Reference, reference_statistics
from degas_ray.scores.score import METRICS, Scores, extract, score
from degas_ray.scores.second import Second, SecondJudge, SecondProtocol, classifier_of, second_judge

__all__ = [
    "EXTRACTORS", "METRICS", "Classifier", "Extractor", "Features", "Protocol", "Reference", "Scores", "Second",
    "SecondJudge", "SecondProtocol", "classifier_of", "comparable", "differences", "extract", "floor",
    "frechet_distance", "image_batches", "inception_score", "kernel_distance", "load_extractor", "moments",
    "open_samples", "reference_statistics", "score", "second_judge",
]  # fmt: skip
