"""Names of the tags that runs, model versions and the experiment have in MLflow; no other module spells them.

Each has one meaning, on runs and on model versions alike.
"""

KEY = "degas.key"  # our own unique name of a run, such as study/trials/0003
ROLE = "degas.role"  # study, trial, promotion, search, train or evaluate
OUTCOME = "degas.outcome"  # how the run ended; missing while it runs
STUDY = "degas.study"  # name of the study
FOLDER = "degas.folder"  # the run's folder on disk
SEED = "degas.seed"  # seed of the run itself; a trial's is derived from its study's
DATA = "degas.data_fingerprint"  # of the images
GIT_DIRTY = "degas.git_dirty"  # whether the code differed from its commit
NUMBERS = "degas.precision"  # number formats of searches and trainings, in words
GENOTYPE = "degas.genotype"  # the architecture's text
GENOTYPE_HASH = "degas.genotype_hash"
REUSED = "degas.reused"  # the works whose scores these are
SCORES = "degas.scores"  # the distance, in a sentence
PROTOCOL = "degas.scores_protocol"  # how scores were measured, as JSON
SCORE = "degas.score."  # prefix: one of the scores, by its name
VERDICT = "degas.verdict"  # how good a champion is, in sentences
NON_FINITE = "degas.non_finite"  # the last metric that was infinite or undefined
NOW = "degas.now."  # prefix: the present value of a parameter, which MLflow keeps as it was first written

# MLflow's own.
COMMIT = "mlflow.source.git.commit"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
PARENT = "mlflow.parentRunId"
IMAGES = "mlflow.loggedImages"  # shows the image grid
NOTE = "mlflow.note.content"  # shown at the top of a run's and the experiment's page
EXPERIMENT_KIND = "mlflow.experimentKind"
SHARED_VIEW = "mlflow.sharedViewState."  # prefix: columns of a view, by its name
