package ref

import "math"

// CrossEntropy is, for each row of logits [., vocab], the log-probability of
// its target, and the gradient of that one's negative: softmax - onehot(target).
func CrossEntropy(logits []float32, targets []int32) (logs, gradient []float64) {
	vocab := len(logits) / len(targets)
	for row, target := range targets {
		p := LogProbabilities(logits[row*vocab:][:vocab])
		logs = append(logs, p[target])
		for i := range p {
			p[i] = math.Exp(p[i])
		}
		p[target]--
		gradient = append(gradient, p...)
	}
	return logs, gradient
}
