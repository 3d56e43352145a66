package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// treeType is a block that an adapter takes as it stands in the file, as the
// template of a request.
var treeType = reflect.TypeFor[map[string]any]()

// decodeTree gives what stands in a part of the file whose keys are not ours: nil,
// bool, int64, float64, string, []any or map[string]any. Variables are put into its
// texts as everywhere.
func (d *decoder) decodeTree(n *yaml.Node, path string) any {
	if !d.plain(n, path) {
		return nil
	}
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.places[at] = placeOf(item)
			list[i] = d.decodeTree(item, at)
		}
		return list
	case yaml.MappingNode:
		block := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || !d.plain(key, path) {
				d.reportAt(placeOf(key), path, `a key must be a word: quote a placeholder, as "{{text}}"`)
				continue
			}
			at := join(path, shownKey(n, key, value, []string{key.Value}))
			if _, twice := block[key.Value]; twice {
				d.reportAt(placeOf(key), at, "stands twice in this block")
				continue
			}
			d.places[at] = placeOf(key)
			block[key.Value] = d.decodeTree(value, at)
		}
		return block
	default:
		return d.decodeLeaf(n, path)
	}
}

// decodeLeaf gives a single value of a tree. What is quoted is text, and so is what
// a variable was put into.
func (d *decoder) decodeLeaf(n *yaml.Node, path string) any {
	text, expanded, err := expand(n.Value, d.getenv)
	if err != nil {
		d.report(path, "%v", err)
		return nil
	}
	if expanded {
		return text
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		if text == "true" || text == "false" {
			return text == "true"
		}
	case "!!int":
		if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
			return whole
		}
	case "!!float":
		number, err := strconv.ParseFloat(text, 64)
		if err == nil && !math.IsNaN(number) && !math.IsInf(number, 0) && strings.ContainsAny(text, ".eE") {
			return number
		}
	default:
		return text
	}
	d.report(path, "can be read in more than one way: quote it, or write true, false or a decimal number")
	return nil
}

// treeText writes a tree on one line. JSON is YAML, too.
func treeText(tree any) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(tree) // what decodeTree gives is JSON
	return string(bytes.TrimSpace(out.Bytes()))
}
