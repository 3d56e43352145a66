package archtest

import (
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// rule is one rule of the house.
type rule struct {
	name    string
	because string
	check   func(*tree) []finding
}

// rules are all of them.
var rules = slices.Concat(arrowRules(), []rule{
	{
		name:    "twins know nobody",
		because: "a twin that shares code with its adapter repeats the adapter's misreadings, and the tests then prove nothing",
		check:   twinsKnowNobody,
	},
	{
		name:    "adapters are strangers to each other",
		because: "what two vendors share goes to vendorhttp or normalize",
		check:   adaptersAreStrangers,
	},
	{
		name:    "only main decides what is linked",
		because: "the list of adapters is chosen in cmd; anything else that imports it would link every vendor",
		check:   onlyMainLinks,
	},
	{
		name:    "talents are asked for with As",
		because: "an adapter may have talents that are no methods of its type: a type assertion misses them without a word",
		check:   talentsAreAskedForWithAs,
	},
	{
		name:    "every adapter is on the list",
		because: "an adapter that adapters/all leaves out cannot be configured",
		check:   everyAdapterIsListed,
	},
	{
		name:    "suites stay out of the binary",
		because: "a test suite is for tests: linked into the program it is dead weight, and its failures are panics",
		check:   suitesStayOut,
	},
	{
		name:    "one home for each library",
		because: "a library that is known in one room can be replaced in one room",
		check:   oneHome,
	},
	{
		name:    "zap is built in app",
		because: "a logger is handed down by constructor; one that a room builds itself escapes the configured level and format",
		check:   zapIsBuiltInApp,
	},
	{
		name:    "exported names mention no dependency",
		because: "a dependency's type in our API makes every caller a user of that dependency",
		check:   exportedNamesAreOurs,
	},
	{
		name:    "names say something",
		because: "a name like these says nothing about what is inside, so everything ends up inside",
		check:   namesSaySomething,
	},
	{
		name:    "one package comment a folder",
		because: "the comment is where a reader learns what the room is for; two of them drift apart",
		check:   onePackageComment,
	},
	{
		name:    "pure rooms are pure",
		because: "the same input must give the same result, in every process and in every test",
		check:   pureRoomsArePure,
	},
	{
		name:    "the core names no vendor",
		because: "what is made reliable once must hold for every vendor; a vendor's name in it is a special case",
		check:   coreNamesNoVendor,
	},
	{
		name:    "nothing is global",
		because: "two instances must be able to run in one process, and tests in parallel",
		check:   nothingIsGlobal,
	},
})

// arrow says whom a room may not know, or who alone it may know.
type arrow struct {
	from    string
	never   []string // rooms
	only    []string // rooms; nil: all but never. Its own subfolders are always allowed
	because string
}

// arrows are the allowed directions, for code that is linked into a program.
var arrows = []arrow{
	{
		from:    "normalize",
		only:    []string{},
		because: "the vocabulary knows nobody",
	},
	{
		from:    "adapters",
		only:    []string{"normalize", "adapters", "internal/vendorhttp", "internal/sandbox"},
		because: "resilience, logs and memory are not a vendor's business",
	},
	{
		from:    "internal/vendorhttp",
		only:    []string{"normalize", "adapters"},
		because: "the client of all adapters knows the contract and nothing in front of it",
	},
	{
		from:    "internal/config",
		only:    []string{"normalize"},
		because: "it hands over checked values, and each adapter's block undecoded",
	},
	{
		from:    "internal/routing",
		only:    []string{"normalize"},
		because: "it is pure, and joined with backends and store by the engine alone",
	},
	{
		from:    "internal/store",
		only:    []string{"normalize"},
		because: "it is joined with routing and backends by the engine alone",
	},
	{
		from:    "internal/archive",
		only:    []string{"normalize", "adapters", "internal/store"},
		because: "it reads and writes what the store holds; of vendors it knows what a record is",
	},
	{
		from:    "internal/migration",
		only:    []string{"normalize"},
		because: "what leaving a vendor is made of works on a store and through a server alike",
	},
	{
		from:    "internal/outbound",
		only:    []string{"normalize"},
		because: "the guard judges addresses; who asks for them is not its business",
	},
	{
		from:    "internal/webhook",
		only:    []string{"normalize", "internal/store", "internal/outbound", "internal/telemetry"},
		because: "it delivers what is stored; who makes events happen is not its business",
	},
	{
		from:    "internal/telemetry",
		only:    []string{},
		because: "it counts what it is told, and asks nobody",
	},
	{
		from:    "internal/backend",
		never:   []string{"internal/store", "internal/routing", "internal/engine", "internal/httpapi", "internal/config", "internal/app"},
		because: "it is joined with routing and store by the engine alone",
	},
	{
		from:    "internal/engine",
		never:   []string{"internal/httpapi", "internal/config", "internal/app", "internal/vendorhttp", "internal/sandbox"},
		because: "the core knows neither who calls nor who answers",
	},
	{
		from: "internal/httpapi",
		never: []string{
			"internal/backend", "internal/store", "internal/routing", "internal/vendorhttp", "internal/config", "internal/app",
			"internal/sandbox", "internal/archive",
		},
		because: "a door speaks to the engine only",
	},
	{
		from: "internal/sandbox",
		never: []string{
			"internal/engine", "internal/store", "internal/backend", "internal/routing", "internal/httpapi", "internal/config",
			"internal/app", "internal/vendorhttp",
		},
		because: "the twins stand outside of the house, as the vendors do",
	},
	{
		from:    "internal/trial",
		only:    []string{"normalize", "adapters", "internal/sandbox"},
		because: "it tries out adapters as they are, without what stands in front of them",
	},
	{
		from:    "internal/app",
		never:   []string{"cmd"},
		because: "main says who is linked and when to stop; app builds what it is told",
	},
}

// arrowRules gives each arrow as a rule of its own.
func arrowRules() []rule {
	list := make([]rule, len(arrows))
	for i, a := range arrows {
		list[i] = rule{"arrows from " + a.from, a.because, a.check}
	}
	return list
}

func (a arrow) check(t *tree) (found []finding) {
	for d, f := range t.production {
		// The list and the suites join what is otherwise kept apart.
		if !within(d.path, a.from) || within(d.path, "adapters/all") || suite(d.path) {
			continue
		}
		for _, i := range f.imports {
			to, ours := i.room()
			if !ours || within(to, d.path) {
				continue
			}
			allowed := a.only == nil || within(to, a.only...) || within(to, a.from)
			if !allowed || within(to, a.never...) {
				found = append(found, t.at(i.pos, "%s imports %s", d.path, to))
			}
		}
	}
	return found
}

// Of normalize a twin may mention the secret: its key must not print either.
func twinsKnowNobody(t *tree) (found []finding) {
	for d, f := range t.production {
		if !twin(d.path) {
			continue
		}
		for _, i := range f.imports {
			if to, ours := i.room(); ours && to != "internal/sandbox/bot" && to != "normalize" {
				found = append(found, t.at(i.pos, "%s imports %s; of ours it may know internal/sandbox/bot and normalize.Secret", d.path, to))
			}
		}
		for _, u := range f.uses(f.syntax) {
			if u.pkg == module+"/normalize" && u.name != "Secret" && u.name != "NewSecret" {
				found = append(found, t.at(u.pos, "%s uses normalize.%s; of ours it may know internal/sandbox/bot and normalize.Secret", d.path, u.name))
			}
		}
	}
	return found
}

// vendor gives the vendor's folder that a room is or lies in: adapters/x.
func vendor(room string) (string, bool) {
	if !within(room, "adapters/*") || within(room, "adapters/all") {
		return "", false
	}
	folder := strings.Join(strings.Split(room, "/")[:2], "/")
	return folder, !suite(folder)
}

func adaptersAreStrangers(t *tree) (found []finding) {
	for d, f := range t.production {
		from, ok := vendor(d.path)
		for _, i := range f.imports {
			room, _ := i.room()
			if to, isVendor := vendor(room); ok && isVendor && to != from {
				found = append(found, t.at(i.pos, "%s imports %s", d.path, room))
			}
		}
	}
	return found
}

func onlyMainLinks(t *tree) (found []finding) {
	for d, f := range t.production {
		for _, i := range f.imports {
			if to, _ := i.room(); to == "adapters/all" && !within(d.path, "cmd") {
				found = append(found, t.at(i.pos, "%s imports adapters/all", d.path))
			}
		}
	}
	return found
}

func everyAdapterIsListed(t *tree) (found []finding) {
	listed := make(map[string]bool)
	for d, f := range t.production {
		for _, i := range f.imports {
			if to, _ := i.room(); d.path == "adapters/all" {
				listed[to] = true
			}
		}
	}
	for _, d := range t.folders {
		if folder, ok := vendor(d.path); ok && folder == d.path && !listed[folder] {
			found = append(found, finding{d.path, "adapters/all does not import it"})
		}
	}
	return found
}

// testPackages are packages of the standard library that are for tests.
var testPackages = []string{"testing", "net/http/httptest"}

func suitesStayOut(t *tree) (found []finding) {
	for d, f := range t.production {
		for _, i := range f.imports {
			to, ours := i.room()
			if !suite(d.path) && (ours && suite(to) || within(i.path, testPackages...)) {
				found = append(found, t.at(i.pos, "%s imports %s in a file that is no test", d.path, i.path))
			}
		}
	}
	return found
}

// homes are the rooms that may know a library. In tests any room may know any
// library of this list; a library that is not in it has not been chosen. No rooms
// means tests only.
var homes = map[string][]string{
	"database/sql": {"internal/store"},

	"github.com/fsnotify/fsnotify":        {"internal/app"},
	"github.com/gorilla/mux":              {"internal/httpapi"},
	"github.com/google/uuid":              {"internal/engine", "internal/httpapi", "internal/store", "adapters/*/*"},
	"github.com/jackc/pgx/v5":             {"internal/store"},
	"github.com/mattn/go-isatty":          {"cmd"},
	"github.com/pressly/goose/v3":         {"internal/store"},
	"github.com/prometheus/client_golang": {"internal/telemetry"},
	"github.com/sony/gobreaker/v2":        {"internal/backend"},
	"github.com/spf13/cobra":              {"cmd"},
	"github.com/tidwall/gjson":            {"adapters", "internal/vendorhttp"},
	"github.com/vbauerster/mpb/v8":        {"cmd"},
	"github.com/xuri/excelize/v2":         {"adapters/conversations"},
	"go.uber.org/zap":                     {"internal/app", "internal/backend", "internal/engine", "internal/httpapi", "internal/store", "internal/webhook", "cmd"},
	"go.yaml.in/yaml/v4":                  {"internal/config"},
	"golang.org/x/sync":                   {"internal"},
	"golang.org/x/sys":                    {"internal/store"},
	"golang.org/x/term":                   {"cmd"},
	"golang.org/x/time":                   {"internal/httpapi", "internal/backend"},
	"modernc.org/sqlite":                  {"internal/store"},

	"github.com/go-json-experiment/json": nil,
	"github.com/chromedp/cdproto":        nil,
	"github.com/chromedp/chromedp":       nil,
	"github.com/getkin/kin-openapi":      nil,
	"github.com/anishathalye/porcupine":  nil,
	"github.com/google/go-cmp":           nil,
	"github.com/rogpeppe/go-internal":    nil,
	"go.uber.org/goleak":                 nil,
	"github.com/tmaxmax/go-sse":          nil,
	"pgregory.net/rapid":                 nil,
	"github.com/prometheus/client_model": nil,

	"github.com/standard-webhooks/standard-webhooks/libraries": nil,
}

func oneHome(t *tree) (found []finding) {
	libraries := slices.Collect(maps.Keys(homes))
	for _, d := range t.folders {
		for _, f := range d.files {
			for _, i := range f.imports {
				n := slices.IndexFunc(libraries, func(library string) bool { return within(i.path, library) })
				_, ours := i.room()
				switch {
				case n < 0 && (ours || i.standard()):
				case n < 0:
					found = append(found, t.at(i.pos, "%s imports %s, which has no home: choose one, and enter it in the list of homes", d.path, i.path))
				case f.test || suite(d.path) || within(d.path, homes[libraries[n]]...):
				case homes[libraries[n]] == nil:
					found = append(found, t.at(i.pos, "%s imports %s, which is for tests", d.path, i.path))
				default:
					found = append(found, t.at(i.pos, "%s imports %s, whose home is %s", d.path, i.path, strings.Join(homes[libraries[n]], ", ")))
				}
			}
		}
	}
	return found
}

// use is one mention of another package's name, as http.Get.
type use struct {
	pkg  string
	name string
	pos  token.Pos
}

// uses lists every mention of another package's names in a part of a file.
func (f *file) uses(part ast.Node) (list []use) {
	byName := make(map[string]string)
	for _, i := range f.imports {
		byName[i.name] = i.path
	}
	ast.Inspect(part, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && byName[x.Name] != "" {
				list = append(list, use{byName[x.Name], sel.Sel.Name, sel.Pos()})
			}
		}
		return true
	})
	return list
}

// zapBuilders make a logger or the parts of one. A logger that says nothing is
// not among them.
var zapBuilders = []string{
	"New", "NewProduction", "NewDevelopment", "NewExample", "NewCore", "Must", "Config", "NewProductionConfig", "NewDevelopmentConfig",
}

func zapIsBuiltInApp(t *tree) (found []finding) {
	for d, f := range t.production {
		for _, u := range f.uses(f.syntax) {
			if within(u.pkg, "go.uber.org/zap") && slices.Contains(zapBuilders, u.name) && !within(d.path, "internal/app") && !suite(d.path) {
				found = append(found, t.at(u.pos, "%s uses %s.%s", d.path, path.Base(u.pkg), u.name))
			}
		}
	}
	return found
}

// vague are the words that say nothing.
var vague = []string{
	"util", "utils", "common", "helper", "helpers", "base", "manager", "service", "services", "impl", "types", "models", "misc", "shared",
}

func namesSaySomething(t *tree) (found []finding) {
	for _, d := range t.folders {
		if name := path.Base(d.path); slices.Contains(vague, name) {
			found = append(found, finding{d.path, "a folder called " + name})
		}
		for _, f := range d.files {
			pkg := f.syntax.Name.Name
			if slices.Contains(vague, strings.TrimSuffix(pkg, "_test")) {
				found = append(found, t.at(f.syntax.Name.Pos(), "a package called %s", pkg))
			}
			if base := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test"); slices.Contains(vague, base) {
				found = append(found, finding{f.path, "a file called " + base})
			}
			for _, decl := range f.syntax.Decls {
				gen, ok := decl.(*ast.GenDecl)
				if !ok {
					continue
				}
				for _, spec := range gen.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok && slices.Contains(vague, lastWord(ts.Name.Name)) {
						found = append(found, t.at(ts.Pos(), "a type called %s", ts.Name.Name))
					}
				}
			}
		}
	}
	return found
}

// lastWord gives the last word of a name in camel case, in lower case.
func lastWord(name string) string {
	if i := strings.LastIndexFunc(name, unicode.IsUpper); i >= 0 {
		name = name[i:]
	}
	return strings.ToLower(name)
}

func onePackageComment(t *tree) (found []finding) {
	for _, d := range t.folders {
		var with []string
		onlyTests := !slices.ContainsFunc(d.files, func(f *file) bool { return !f.test })
		for _, f := range d.files {
			if f.syntax.Doc == nil || f.test && !onlyTests {
				continue
			}
			with = append(with, path.Base(f.path))
			name := f.syntax.Name.Name
			if text := f.syntax.Doc.Text(); name != "main" && !strings.HasPrefix(text, "Package "+name+" ") {
				found = append(found, t.at(f.syntax.Doc.Pos(), "a package comment that does not begin with Package %s", name))
			}
		}
		switch {
		case len(with) == 0:
			found = append(found, finding{d.path, "no file has a package comment"})
		case len(with) > 1:
			found = append(found, finding{d.path, "package comments in " + strings.Join(with, " and ")})
		}
	}
	return found
}

// impure are names that a pure room may not mention; * stands for all of a
// package. Of net/http it may mention the constants.
var impure = map[string][]string{
	"os":           {"*"},
	"os/exec":      {"*"},
	"log":          {"*"},
	"log/slog":     {"*"},
	"net":          {"*"},
	"math/rand":    {"*"},
	"math/rand/v2": {"*"},
	"crypto/rand":  {"*"},
	"hash/maphash": {"*"},
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
}

func pureRoomsArePure(t *tree) (found []finding) {
	for d, f := range t.production {
		if !within(d.path, "normalize", "internal/routing") {
			continue
		}
		for _, i := range f.imports {
			if _, ours := i.room(); slices.Contains(impure[i.path], "*") || !ours && !i.standard() {
				found = append(found, t.at(i.pos, "%s imports %s", d.path, i.path))
			}
		}
		for _, u := range f.uses(f.syntax) {
			constant := strings.HasPrefix(u.name, "Status") || strings.HasPrefix(u.name, "Method")
			if slices.Contains(impure[u.pkg], u.name) || u.pkg == "net/http" && !constant {
				found = append(found, t.at(u.pos, "%s uses %s.%s", d.path, path.Base(u.pkg), u.name))
			}
		}
	}
	return found
}

// vendorless are the rooms that know no vendor.
var vendorless = []string{
	"normalize", "internal/archive", "internal/engine", "internal/backend", "internal/store", "internal/routing", "internal/config", "internal/sandbox",
	"internal/migration", "internal/outbound", "internal/telemetry", "internal/vendorhttp",
}

// words are adapters whose name is also a word that a sentence may hold.
var words = []string{"conversations", "echo", "rest"}

func coreNamesNoVendor(t *tree) (found []finding) {
	var vendors []string
	for _, d := range t.folders {
		if folder, ok := vendor(d.path); ok && folder == d.path {
			vendors = append(vendors, path.Base(folder))
		}
	}
	for d, f := range t.production {
		if !within(d.path, vendorless...) {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, _ := strconv.Unquote(lit.Value)
			text = strings.ToLower(text)
			for _, v := range vendors {
				mentioned := slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }), v)
				if text == v || mentioned && !slices.Contains(words, v) {
					found = append(found, t.at(lit.Pos(), "%s says %s", d.path, lit.Value))
				}
			}
			return true
		})
	}
	return found
}

// global are names that stand for one thing in the whole process; * stands for
// all of a package.
var global = map[string][]string{
	"log":      {"*"},
	"log/slog": {"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "Log"},
	"net/http": {
		"DefaultClient", "DefaultTransport", "DefaultServeMux", "Get", "Head", "Post", "PostForm", "Handle", "HandleFunc", "ListenAndServe",
	},
	"github.com/prometheus/client_golang/prometheus":          {"DefaultRegisterer", "DefaultGatherer", "MustRegister", "Register"},
	"github.com/prometheus/client_golang/prometheus/promauto": {"*"},
	"github.com/prometheus/client_golang/prometheus/promhttp": {"Handler"},
	"go.uber.org/zap": {"L", "S", "ReplaceGlobals", "RedirectStdLog"},
}

func nothingIsGlobal(t *tree) (found []finding) {
	for d, f := range t.production {
		for _, u := range f.uses(f.syntax) {
			// There is one main in a process.
			names := global[u.pkg]
			if !within(d.path, "cmd") && (slices.Contains(names, u.name) || slices.Contains(names, "*")) {
				found = append(found, t.at(u.pos, "%s uses %s.%s", d.path, path.Base(u.pkg), u.name))
			}
		}
	}
	return found
}

// ofSettings are the optional methods of settings, which are no talents.
var ofSettings = []string{"Checker", "Remote", "Botted"}

func talentsAreAskedForWithAs(t *tree) (found []finding) {
	for d, f := range t.production {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			assertion, ok := n.(*ast.TypeAssertExpr)
			if !ok || assertion.Type == nil {
				return true
			}
			for _, u := range f.uses(assertion.Type) {
				if u.pkg == module+"/adapters" && !slices.Contains(ofSettings, u.name) {
					found = append(found, t.at(u.pos, "%s asserts adapters.%s", d.path, u.name))
				}
			}
			return true
		})
	}
	return found
}
