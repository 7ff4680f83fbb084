"""Programs like those of scikit-learn's gallery on linear models, metrics and semi-supervised learning; each prints."""

import warnings

import numpy as np
from sklearn.datasets import load_digits, load_iris, make_blobs, make_classification
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.inspection import DecisionBoundaryDisplay  # noqa: F401  (as the gallery imports it, before any fit)
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import (
    accuracy_score,
    auc,
    class_likelihood_ratios,
    confusion_matrix,
    roc_auc_score,
    roc_curve,
)
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier


def decision_regions_of_iris():
    """Two features of iris: how many cells of a grid each class takes."""
    X, y = load_iris(return_X_y=True)
    classifier = LogisticRegression(C=1e3, tol=1e-8, max_iter=1000).fit(X[:, :2], y)
    sides = [np.linspace(column.min() - 0.5, column.max() + 0.5, 80) for column in X[:, :2].T]
    grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    print("cells", np.bincount(classifier.predict(grid)).tolist(), "score", round(classifier.score(X[:, :2], y), 3))


def multinomial_beside_one_vs_rest():
    """Blobs in a row: one softmax, or one logistic regression for each class."""
    X, y = make_blobs(n_samples=900, centers=[[-4, 0], [0, 1], [4, -1]], random_state=40)
    X = X @ np.array([[0.4, 0.3], [-0.5, 1.1]])
    softmax = LogisticRegression(tol=1e-8, random_state=0)
    for name, classifier in {"multinomial": softmax, "one vs rest": OneVsRestClassifier(softmax)}.items():
        print(f"training score: {classifier.fit(X, y).score(X, y):.3f} ({name})")
    print(np.round(softmax.fit(X, y).coef_, 3))


def penalties_and_zeros():
    """Small against large digits, by penalty and C: how many coefficients are zero."""
    X, y = load_digits(return_X_y=True)
    X, y = StandardScaler().fit_transform(X[:300]), (y > 4)[:300].astype(int)
    for C in (1.0, 0.05):
        for l1_ratio in (1, 0.5, 0):
            classifier = LogisticRegression(C=C, solver="saga", tol=1e-6, max_iter=3000, random_state=0)
            with warnings.catch_warnings():  # versions differ in how a penalty is said
                warnings.simplefilter("ignore", FutureWarning)
                penalty = {1: "l1", 0.5: "elasticnet", 0: "l2"}[l1_ratio]
                classifier.set_params(penalty=penalty, l1_ratio=l1_ratio).fit(X, y)
            zeros = 100 * np.mean(classifier.coef_ == 0)
            print(f"C={C:g} l1_ratio={l1_ratio}: {zeros:.1f} % zeros, score {classifier.score(X, y):.3f}")


def path_of_l1():
    """Two classes of iris, C from where nothing is chosen upward, each fit from the last: what is chosen."""
    X, y = load_iris(return_X_y=True)
    X, y = X[y != 2] / X.max(), y[y != 2]
    options = {"solver": "liblinear", "tol": 1e-7, "max_iter": 10_000, "intercept_scaling": 1e4, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        classifier = LogisticRegression(penalty="l1", warm_start=True, **options)
        for C in np.logspace(-1, 2, 7):
            classifier.set_params(C=C).fit(X, y)
            print(f"C={C:.3g}", np.flatnonzero(np.abs(classifier.coef_[0]) > 1e-3).tolist())


def roc_of_folds():
    """Iris's two hard classes with noisy features: the area under the curve, fold by fold."""
    X, y = load_iris(return_X_y=True)
    X, y = X[y != 0], y[y != 0] == 2
    X = np.hstack([X, np.random.default_rng(5).normal(size=(len(X), 60))])
    classifier = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000)
    for train, test in StratifiedKFold(5).split(X, y):
        score = classifier.fit(X[train], y[train]).decision_function(X[test])
        false, true, _ = roc_curve(y[test], score)
        print(f"area {auc(false, true):.3f}")


def likelihood_ratios_by_prevalence():
    """A rare disease: what a positive test says, by cross-validation."""
    X, y = make_classification(n_samples=4000, weights=[0.9, 0.1], class_sep=0.6, random_state=0)

    def ratios(classifier, X, y):
        positive, negative = class_likelihood_ratios(y, classifier.predict(X))
        return {"positive": positive, "negative": negative}

    scores = cross_validate(LogisticRegression(tol=1e-8), X, y, scoring=ratios, cv=5)
    for name in ("positive", "negative"):
        print(f"ratio of a {name} test {scores['test_' + name].mean():.2f} +- {scores['test_' + name].std():.2f}")


def words_of_documents():
    """Sparse counts of words, many classes: accuracy and the words that count most."""
    rng = np.random.default_rng(3)
    topics = rng.dirichlet(np.full(600, 0.04), size=8)
    y = rng.integers(0, 8, 1200)
    documents = [" ".join(f"w{word:03d}" for word in rng.choice(600, 30, p=topics[topic])) for topic in y]
    vectorizer = CountVectorizer()
    X = TfidfTransformer().fit_transform(vectorizer.fit_transform(documents))
    train, test = train_test_split(np.arange(1200), random_state=0)
    classifier = LogisticRegression(C=5, tol=1e-8, max_iter=1000).fit(X[train], y[train])
    print(f"accuracy {classifier.score(X[test], y[test]):.3f}")
    names = vectorizer.get_feature_names_out()
    for topic, row in enumerate(classifier.coef_):
        print(topic, *names[np.argsort(-row)[:3]])


def digits_with_a_confusion_matrix():
    """All digits, scaled: the confusion matrix."""
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)
    classifier = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=1000, tol=1e-8)).fit(parts[0], parts[2])
    print(confusion_matrix(parts[3], classifier.predict(parts[1])))


def c_by_cross_validation():
    """`LogisticRegressionCV` on standardised digits: the C that it chooses."""
    X, y = load_digits(return_X_y=True, n_class=4)
    X = StandardScaler().fit_transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        classifier = LogisticRegressionCV(Cs=[1e-3, 1e-2, 1e-1], cv=3, tol=1e-8, max_iter=1000).fit(X, y)
    print("C", np.unique(classifier.C_).tolist(), f"score {classifier.score(X, y):.3f}")


def labels_from_few():
    """Self-training: nine of ten labels are hidden."""
    X, y = make_blobs(n_samples=600, centers=4, cluster_std=2.0, random_state=2)
    hidden = np.where(np.random.default_rng(0).random(600) < 0.9, -1, y)
    classifier = SelfTrainingClassifier(LogisticRegression(tol=1e-8), threshold=0.8).fit(X, hidden)
    labelled = [int((classifier.labeled_iter_ == i).sum()) for i in range(classifier.n_iter_ + 1)]
    print("labelled in each round", labelled, f"accuracy {accuracy_score(y, classifier.predict(X)):.3f}")


def weights_of_classes():
    """Unbalanced classes, with and without weights."""
    X, y = make_classification(n_samples=3000, weights=[0.95], flip_y=0.02, random_state=7)
    for weight in (None, "balanced", {0: 1, 1: 4}):
        classifier = LogisticRegression(class_weight=weight, tol=1e-8).fit(X, y)
        area = roc_auc_score(y, classifier.decision_function(X))
        print(weight, np.bincount(classifier.predict(X)).tolist(), f"area {area:.4f}")
