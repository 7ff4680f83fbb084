"""Programs like those of scikit-learn's gallery on pipelines, ensembles and multi-output problems; each prints."""

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    make_classification,
    make_multilabel_classification,
)
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    RandomForestClassifier,
    RandomTreesEmbedding,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, jaccard_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler


def logistic(**options):
    return LogisticRegression(**({"tol": 1e-8, "max_iter": 2000} | options))


def columns_of_mixed_types():
    """Numbers with gaps and categories, each with a treatment of its own."""
    rng = np.random.default_rng(11)
    m = 900
    port, age, fare = rng.choice(list("CQS"), m), rng.normal(30, 12, m), rng.gamma(2, 15, m)
    chance = 1 / (1 + np.exp(0.05 * (age - 30) - 0.02 * fare - (port == "C")))
    survived = rng.random(m) < chance
    age[rng.random(m) < 0.2] = np.nan
    frame = pd.DataFrame({"port": pd.Categorical(port), "age": age, "fare": fare})
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age", "fare"]),
            ("names", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        ]
    )
    classifier = make_pipeline(columns, logistic())
    train, test = train_test_split(np.arange(m), random_state=0, test_size=0.2)
    classifier.fit(frame.iloc[train], survived[train])
    print(f"score {classifier.score(frame.iloc[test], survived[test]):.3f}")


def names_through_a_pipeline():
    """Frames out of every step: coefficients by the names of the columns."""
    X, y = load_iris(as_frame=True, return_X_y=True)
    classifier = make_pipeline(StandardScaler(), logistic()).set_output(transform="pandas").fit(X, y)
    last = classifier[-1]
    print(pd.DataFrame(last.coef_, columns=last.feature_names_in_, index=last.classes_).round(3).to_string())


def votes():
    """Soft votes of three classifiers: probabilities of the first sample, and the score."""
    X, y = load_iris(return_X_y=True)
    members = [
        ("logistic", logistic(random_state=1)),
        ("forest", RandomForestClassifier(n_estimators=20, random_state=1)),
        ("bayes", GaussianNB()),
    ]
    classifier = VotingClassifier(members, voting="soft", weights=[1, 1, 5]).fit(X[::2], y[::2])
    print(classifier.predict_proba(X[1:2]).round(3), f"score {classifier.score(X[1::2], y[1::2]):.3f}")


def stacks():
    """Members' predictions as the features of a logistic regression, itself of the default kind."""
    X, y = load_breast_cancer(return_X_y=True)
    members = [
        ("neighbours", make_pipeline(StandardScaler(), KNeighborsClassifier())),
        ("logistic", make_pipeline(StandardScaler(), logistic())),
    ]
    train, test = train_test_split(np.arange(len(y)), random_state=0)
    classifier = StackingClassifier(members, final_estimator=logistic()).fit(X[train], y[train])
    print(f"score {classifier.score(X[test], y[test]):.3f}", classifier.final_estimator_.coef_.round(2))


def calibrated_probabilities():
    """Brier score and log loss of a logistic regression, and of naive Bayes with and without calibration."""
    X, y = make_classification(n_samples=6000, n_informative=2, n_redundant=10, random_state=42)
    parts = train_test_split(X, y, test_size=0.8, random_state=42)
    for name, classifier in {
        "logistic": logistic(C=10),
        "bayes": GaussianNB(),
        "bayes, calibrated": CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=3),
        "logistic, calibrated": CalibratedClassifierCV(logistic(C=0.01), method="sigmoid", cv=3),
    }.items():
        p = classifier.fit(parts[0], parts[2]).predict_proba(parts[1])
        print(f"{name}: Brier {brier_score_loss(parts[3], p[:, 1]):.4f}, log loss {log_loss(parts[3], p):.4f}")


def chain_of_labels():
    """Many labels at once: each on its own, and in chains that see the labels before."""
    X, Y = make_multilabel_classification(n_samples=500, n_classes=6, n_features=20, random_state=1)
    train, test = train_test_split(np.arange(len(X)), test_size=0.3, random_state=0)
    alone = MultiOutputClassifier(logistic()).fit(X[train], Y[train]).predict(X[test])
    print(f"alone {jaccard_score(Y[test], alone, average='samples', zero_division=1):.3f}")
    chains = [ClassifierChain(logistic(), order="random", random_state=seed) for seed in range(4)]
    predicted = np.array([chain.fit(X[train], Y[train]).predict_proba(X[test]) for chain in chains])
    for one in (*predicted, predicted.mean(axis=0)):
        print(f"chain {jaccard_score(Y[test], one >= 0.5, average='samples', zero_division=1):.3f}")


def features_of_a_boltzmann_machine():
    """Digits' hidden units as features."""
    X, y = load_digits(return_X_y=True)
    X = MinMaxScaler().fit_transform(X)
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0)
    machine = BernoulliRBM(n_components=40, learning_rate=0.06, n_iter=5, random_state=0)
    for name, classifier in {"raw": logistic(C=100), "hidden": make_pipeline(machine, logistic(C=100))}.items():
        print(f"{name}: {classifier.fit(X[train], y[train]).score(X[test], y[test]):.3f}")


def leaves_as_features():
    """Trees' leaves, one-hot and sparse, under a logistic regression."""
    X, y = make_classification(n_samples=3000, random_state=10)
    parts = train_test_split(X, y, test_size=0.5, random_state=10)
    leaves = RandomTreesEmbedding(n_estimators=10, max_depth=3, random_state=10)
    classifier = make_pipeline(leaves, logistic()).fit(parts[0], parts[2])
    print(f"score {classifier.score(parts[1], parts[3]):.3f}")


def bags_and_boosts():
    """Many logistic regressions: bagged, boosted by weights of samples."""
    X, y = load_iris(return_X_y=True)
    for many in (
        BaggingClassifier(logistic(), n_estimators=5, random_state=0),
        AdaBoostClassifier(logistic(), n_estimators=5, random_state=0),
    ):
        print(type(many).__name__, f"{many.fit(X, y).score(X, y):.3f}")
