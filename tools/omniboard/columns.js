// The columns that a browser shows at its first visit: which run, how it ended, how good it is. Omniboard itself would
// fill the window with the host and its like, and hide every result beyond the right edge.
//
// Omniboard keeps its table in localStorage and reads it once, when it starts: hence this runs before it. What a person
// has arranged is never touched; "Reset Cache" leads back here. An error here ends this script alone; Omniboard then shows
// its own columns.
(() => {
  const key = "default|RunsTable|1"; // the name of the database in Omniboard, which is not its name in MongoDB
  const widths = {
    experiment_name: 190, status: 95, c_problem: 95, c_method: 70, c_setting: 130, c_seed: 55, c_outcome: 80,
    c_final_train_loss: 110, c_best_val_accuracy: 95, c_test_accuracy: 95, start_time: 150, duration: 75, tags: 165,
    notes: 150,
  };
  const hidden = ["_id", "hostname", "format", "heartbeat", "stop_time"];
  const paths = {
    experiment_name: "experiment.name", hostname: "host.hostname", tags: "omniboard.tags", notes: "omniboard.notes",
  };

  function label(name) {
    return name.split("_").map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(" ").trim();
  }

  const known = JSON.parse(localStorage.getItem(key)) || {};
  if ((known.columnOrder || []).length) return;
  const config = new Set(PAL_FIELDS.map((name) => `c_${name}`));
  if (!config.size) return; // no runs yet
  const shown = Object.keys(widths).filter((name) => !name.startsWith("c_") || config.has(name));
  const all = [...new Set([...shown, ...hidden, ...config])];
  const state = {
    columnOrder: shown,
    columnWidths: Object.fromEntries(all.map((name) => [name, widths[name] || 150])),
    dropdownOptions: all.map((name) => ({ label: label(name), value: name, selected: shown.includes(name) })),
    columnNameMap: { ...paths, ...Object.fromEntries([...config].map((name) => [name, `config.${name.slice(2)}`])) },
    sort: { start_time: "DESC" },
  };
  localStorage.setItem(key, JSON.stringify({ ...known, ...state }));
})();
