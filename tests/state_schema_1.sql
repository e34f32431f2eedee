-- A state database as the first release made it: its tables, and a project after two rounds.
CREATE TABLE meta (schema_version INTEGER NOT NULL, PRIMARY KEY (schema_version));
CREATE TABLE projects (
    "key" INTEGER NOT NULL,
    url VARCHAR(500) NOT NULL,
    project_id INTEGER NOT NULL,
    adopted_at VARCHAR(40),
    control JSON,
    label_config TEXT,
    min_annotations_per_task INTEGER NOT NULL,
    original_settings JSON,
    created JSON,
    bookmark VARCHAR(40),
    round INTEGER NOT NULL,
    queue_version VARCHAR(100),
    model_version VARCHAR(100),
    queue_size INTEGER,
    window_options JSON,
    lock_holder VARCHAR(200),
    lock_until FLOAT,
    PRIMARY KEY ("key"),
    UNIQUE (url, project_id)
);
CREATE TABLE annotations (
    project INTEGER NOT NULL,
    id INTEGER NOT NULL,
    task INTEGER NOT NULL,
    annotator INTEGER NOT NULL,
    label VARCHAR(500),
    skipped BOOLEAN NOT NULL,
    ground_truth BOOLEAN NOT NULL,
    updated_at VARCHAR(40) NOT NULL,
    unknown BOOLEAN NOT NULL,
    PRIMARY KEY (project, id),
    FOREIGN KEY(project) REFERENCES projects ("key")
);
CREATE INDEX ix_annotations_task ON annotations (task);
CREATE TABLE originals (
    project INTEGER NOT NULL,
    task INTEGER NOT NULL,
    overlap INTEGER NOT NULL,
    is_labeled BOOLEAN NOT NULL,
    PRIMARY KEY (project, task),
    FOREIGN KEY(project) REFERENCES projects ("key")
);
CREATE TABLE reopened (
    project INTEGER NOT NULL,
    task INTEGER NOT NULL,
    overlap INTEGER NOT NULL,
    PRIMARY KEY (project, task),
    FOREIGN KEY(project) REFERENCES projects ("key")
);
CREATE TABLE rounds (
    project INTEGER NOT NULL,
    round INTEGER NOT NULL,
    at VARCHAR(40) NOT NULL,
    summary JSON NOT NULL,
    PRIMARY KEY (project, round),
    FOREIGN KEY(project) REFERENCES projects ("key")
);
CREATE TABLE tasks (
    project INTEGER NOT NULL,
    id INTEGER NOT NULL,
    text TEXT,
    is_labeled BOOLEAN NOT NULL,
    overlap INTEGER NOT NULL,
    updated_at VARCHAR(40) NOT NULL,
    PRIMARY KEY (project, id),
    FOREIGN KEY(project) REFERENCES projects ("key")
);
CREATE TABLE trained (
    project INTEGER NOT NULL,
    task INTEGER NOT NULL,
    label VARCHAR(500) NOT NULL,
    PRIMARY KEY (project, task),
    FOREIGN KEY(project) REFERENCES projects ("key")
);
CREATE TABLE "window" (
    project INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    task INTEGER NOT NULL,
    relabel BOOLEAN NOT NULL,
    PRIMARY KEY (project, rank),
    FOREIGN KEY(project) REFERENCES projects ("key")
);
INSERT INTO meta VALUES (1);
INSERT INTO projects VALUES (
    1, 'http://studio', 7, '2026-03-01T09:00:00+00:00',
    '{"name": "politeness", "to_name": "text", "data_key": "text", "classes": ["Polite", "Impolite"], "spellings": {"Polite": "Polite", "Impolite": "Impolite"}}',
    '<View/>', 2, '{"sampling": "Sequential sampling", "maximum_annotations": 3}', '{"tab": 5}',
    '2026-03-01T09:30:00+00:00', 2, 'activelab-20260301-100000-000000', 'model-2', 3,
    '{"window": 100, "max_annotations_per_task": 5, "prelabel_new": false}', NULL, NULL
);
INSERT INTO tasks VALUES (1, 1, 'Text 1', TRUE, 2, '2026-03-01T10:00:01.250000Z'), (1, 2, NULL, FALSE, 1, '2026-03-01T10:00:02.500000Z');
INSERT INTO annotations VALUES (1, 11, 1, 4, 'Polite', FALSE, FALSE, '2026-03-01T10:00:01.250000Z', FALSE);
INSERT INTO originals VALUES (1, 1, 3, FALSE), (1, 2, 3, FALSE);
INSERT INTO reopened VALUES (1, 1, 1);
INSERT INTO rounds VALUES (1, 1, '2026-03-01T09:10:00+00:00', '{"round": 1}'), (1, 2, '2026-03-01T09:30:00+00:00', '{"round": 2, "trained": true}');
INSERT INTO trained VALUES (1, 1, 'Polite');
INSERT INTO "window" VALUES (1, 0, 1, TRUE), (1, 1, 2, FALSE);
