"""Programs like those of scikit-learn's gallery on model selection, feature selection and inspection; each prints."""

import warnings

import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_classification
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SelectKBest, SequentialFeatureSelector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_score,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler


def logistic(**options):
    return LogisticRegression(**({"tol": 1e-8, "max_iter": 3000} | options))


def components_and_c():
    """Digits: principal components, then a regression, both by grid search."""
    X, y = load_digits(return_X_y=True)
    pipeline = Pipeline([("scale", StandardScaler()), ("pca", PCA(random_state=0)), ("logistic", logistic())])
    grid = {"pca__n_components": [10, 30], "logistic__C": [1e-3, 1e-1]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X[:900], y[:900])
    print(f"best {search.best_score_:.3f}", search.best_params_)
    print(search.cv_results_["mean_test_score"].round(3).tolist())


def text_by_random_search():
    """Words, n-grams and C of small documents, at random, in two processes."""
    rng = np.random.default_rng(8)
    words = np.array([f"w{i}" for i in range(150)])
    weights = rng.dirichlet(np.full(150, 0.1), size=3)
    y = rng.integers(0, 3, 300)
    documents = [" ".join(rng.choice(words, 25, p=weights[topic])) for topic in y]
    pipeline = make_pipeline(TfidfVectorizer(), logistic())
    choices = {"tfidfvectorizer__ngram_range": [(1, 1), (1, 2)], "logisticregression__C": loguniform(1e-2, 1e2)}
    search = RandomizedSearchCV(pipeline, choices, n_iter=6, cv=3, random_state=0, n_jobs=2).fit(documents, y)
    print({name: np.round(value, 4).tolist() for name, value in search.best_params_.items()})
    print(search.cv_results_["mean_test_score"].round(3).tolist())


def ever_fewer_candidates():
    """Successive halving over C: how many candidates each round has, and which is left."""
    X, y = make_classification(n_samples=1000, n_informative=5, random_state=3)
    grid = {"C": np.logspace(-4, 2, 7)}
    search = HalvingGridSearchCV(logistic(), grid, factor=2, random_state=0).fit(X, y)
    print(search.n_candidates_, search.n_resources_, search.best_params_)


def threshold_for_a_cost():
    """The threshold that costs least, by cross-validation."""
    X, y = make_classification(n_samples=2000, weights=[0.8], class_sep=0.7, random_state=0)

    def gain(y_true, y_pred):
        return 5 * np.sum((y_true == 1) & (y_pred == 1)) - np.sum((y_true == 0) & (y_pred == 1))

    tuned = TunedThresholdClassifierCV(logistic(), scoring=make_scorer(gain), cv=3).fit(X, y)
    fixed = FixedThresholdClassifier(logistic(), threshold=0.25).fit(X, y)
    print(f"threshold {tuned.best_threshold_:.4f}", [int(gain(y, one.predict(X))) for one in (tuned, fixed)])


def recursive_elimination():
    """Pixels of digits by rank, and how many features of a made-up problem are worth it."""
    X, y = load_digits(return_X_y=True)
    X = MinMaxScaler().fit_transform(X)[:500]
    print(RFE(logistic(), n_features_to_select=1, step=8).fit(X, y[:500]).ranking_.reshape(8, 8))
    X, y = make_classification(n_samples=500, n_features=15, n_informative=3, n_redundant=2, random_state=0)
    search = RFECV(logistic(), cv=StratifiedKFold(5)).fit(X, y)
    print(search.n_features_, search.cv_results_["mean_test_score"].round(3).tolist())


def features_that_are_left():
    """Features by a penalty that makes zeros, and forward one by one."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        sparse = LogisticRegression(penalty="l1", C=0.05, solver="liblinear", tol=1e-7, random_state=0)
        print(np.flatnonzero(SelectFromModel(sparse).fit(X, y).get_support()).tolist())
    forward = SequentialFeatureSelector(logistic(), n_features_to_select=2, cv=3).fit(X[:, :10], y)
    print(np.flatnonzero(forward.get_support()).tolist())
    chosen = make_pipeline(SelectKBest(k=3), logistic())
    print(cross_val_score(chosen, X, y).round(4).tolist())


def curves():
    """Scores by the number of samples, and by C."""
    X, y = load_digits(return_X_y=True)
    X = X[:600] / 16
    sizes, train, test = learning_curve(logistic(), X, y[:600], cv=3, train_sizes=[0.2, 0.6, 1.0])
    print(sizes.tolist(), train.mean(axis=1).round(3).tolist(), test.mean(axis=1).round(3).tolist())
    train, test = validation_curve(logistic(), X, y[:600], param_name="C", param_range=[1e-3, 1e-1, 10], cv=3)
    print(train.mean(axis=1).round(3).tolist(), test.mean(axis=1).round(3).tolist())


def importances():
    """Permutation importance of the features of iris, and the partial dependence of its petals."""
    X, y = load_iris(return_X_y=True)
    train, test = train_test_split(np.arange(len(y)), random_state=0, stratify=y)
    classifier = make_pipeline(StandardScaler(), logistic()).fit(X[train], y[train])
    found = permutation_importance(classifier, X[test], y[test], n_repeats=10, random_state=0)
    print(found.importances_mean.round(3).tolist())
    print(partial_dependence(classifier, X, [2], grid_resolution=4, kind="average")["average"].round(3))
    print(f"recall {recall_score(y[test], classifier.predict(X[test]), average='macro'):.3f}")
