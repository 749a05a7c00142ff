"""Writes models and data of honest packages to a folder: models.py FOLDER. Trains nothing that takes longer than a second."""

import gzip
import io
import json
import pickle
import sys
from pathlib import Path

import h5py
import joblib
import lightgbm
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import skops.io
import xgboost
from sklearn import cluster, compose, datasets, decomposition, ensemble, feature_extraction, gaussian_process, impute, isotonic, kernel_ridge, linear_model
from sklearn import mixture, model_selection, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
x, y = datasets.load_iris(return_X_y=True)
words = ["good film", "bad film", "good book", "bad book"] * 5


def estimators():
    for kind in [
        linear_model.LogisticRegression, linear_model.Ridge, linear_model.SGDClassifier, svm.SVC, svm.LinearSVC, tree.DecisionTreeClassifier,
        ensemble.RandomForestClassifier, ensemble.GradientBoostingClassifier, ensemble.HistGradientBoostingClassifier, ensemble.IsolationForest,
        neighbors.KNeighborsClassifier, naive_bayes.GaussianNB, gaussian_process.GaussianProcessClassifier, kernel_ridge.KernelRidge,
        neural_network.MLPClassifier, mixture.GaussianMixture, cluster.KMeans, cluster.DBSCAN, decomposition.PCA, decomposition.TruncatedSVD,
        preprocessing.StandardScaler, preprocessing.PolynomialFeatures, preprocessing.OneHotEncoder, impute.SimpleImputer,
    ]:
        yield kind.__name__, kind().fit(x, y)
    yield "Isotonic", isotonic.IsotonicRegression().fit(x[:, 0], y)
    yield "Pipeline", pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC()).fit(x, y)
    columns = compose.ColumnTransformer([("a", preprocessing.StandardScaler(), [0, 1]), ("b", "passthrough", [2])])
    yield "Columns", columns.fit(x)
    yield "Search", model_selection.GridSearchCV(svm.SVC(), {"C": [1, 2]}, cv=2).fit(x, y)
    yield "Words", pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(), naive_bayes.MultinomialNB()).fit(words, [1, 0] * 10)
    yield "Voting", ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]).fit(x, y)
    yield "XGB", xgboost.XGBClassifier(n_estimators=3).fit(x, y)
    yield "LGBM", lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y)


for name, model in estimators():
    joblib.dump(model, out / f"{name}.joblib")
    (out / f"{name}.pkl").write_bytes(pickle.dumps(model))
forest = ensemble.RandomForestClassifier(n_estimators=5).fit(x, y)
for form in ["zlib", "gzip", "bz2", "xz", "lzma"]:
    joblib.dump(forest, out / f"forest.{form}.joblib", compress=(form, 3))
for protocol in range(6):
    (out / f"protocol{protocol}.pkl").write_bytes(pickle.dumps({"x": x, "names": words, "model": linear_model.Ridge().fit(x, y)}, protocol))
(out / "forest.pkl.gz").write_bytes(gzip.compress(pickle.dumps(forest)))
skops.io.dump(forest, out / "forest.skops")
booster = xgboost.XGBClassifier(n_estimators=3).fit(x, y).get_booster()
booster.save_model(out / "booster.ubj")
booster.save_model(out / "booster.json")
lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y).booster_.save_model(out / "lightgbm.txt")
np.save(out / "array.npy", x)
np.save(out / "records.npy", np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]))
np.savez(out / "arrays.npz", x=x, y=y)
np.savez_compressed(out / "arrays.compressed.npz", x=x, y=y)
table = pa.table({"x": x[:, 0], "names": ["a"] * len(x)})
pa.parquet.write_table(table, out / "table.parquet")
pa.feather.write_feather(table, out / "table.feather")
with pa.ipc.new_stream(out / "table.arrow", table.schema) as stream:
    stream.write_table(table)
node = onnx.helper.make_node("Relu", ["x"], ["y"])
value = onnx.helper.make_tensor_value_info
graph = onnx.helper.make_graph([node], "g", [value("x", 1, [1])], [value("y", 1, [1])])
onnx.save(onnx.helper.make_model(graph), out / "relu.onnx")
with h5py.File(out / "weights.h5", "w") as file:
    file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"units": 2}}]}})
    for number in range(40):
        file.create_dataset(f"layer{number}/kernel", data=x)
