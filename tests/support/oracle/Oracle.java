import java.io.File;
import java.util.HashMap;
import java.util.Map;
import org.netbeans.lib.profiler.heap.Heap;
import org.netbeans.lib.profiler.heap.HeapFactory;
import org.netbeans.lib.profiler.heap.JavaClass;

/**
 * What another parser, that of NetBeans and VisualVM, finds in a heap dump: class, instances, bytes; the biggest classes
 * first. Arguments: DUMP [how many classes]. Its bytes are those in the dump, where references are not compressed.
 */
public class Oracle {
    private static final class Row {
        long instances;
        long bytes;
    }

    public static void main(String[] arguments) throws Exception {
        Heap heap = HeapFactory.createHeap(new File(arguments[0]));
        long limit = arguments.length > 1 ? Long.parseLong(arguments[1]) : 10;
        Map<String, Row> rows = new HashMap<>();
        for (Object each : heap.getAllClasses()) {
            JavaClass type = (JavaClass) each;
            Row row = rows.computeIfAbsent(type.getName(), name -> new Row());
            row.instances += type.getInstancesCount();
            row.bytes += type.getAllInstancesSize();
        }
        rows.entrySet().stream()
                .filter(entry -> entry.getValue().instances > 0)
                .sorted((a, b) -> Long.compare(b.getValue().bytes, a.getValue().bytes))
                .limit(limit)
                .forEach(entry -> System.out.println(
                        entry.getKey() + "\t" + entry.getValue().instances + "\t" + entry.getValue().bytes));
    }
}
